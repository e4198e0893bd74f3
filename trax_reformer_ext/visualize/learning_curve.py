"""The learning curve of a run."""

from trax_reformer_ext.files import written_beside


def draw_learning_curve(path, curves, levels, unit='bits per byte'):
  """Writes a PNG of loss against training steps.

  Args:
    path: str, where to write; an old picture is replaced when the new one is
      complete.
    curves: dict from name to a list of (step, value).
    levels: dict from name to a value that is drawn as a horizontal line.
    unit: str, label of the vertical axis.
  """
  # Imported here, as it is slow; Figure needs no screen and no global state.
  from matplotlib.figure import Figure

  figure = Figure(figsize=(7, 4.2), dpi=130, layout='constrained')
  axes = figure.subplots()
  for name, points in curves.items():
    steps = [step for step, _ in points]
    values = [value for _, value in points]
    axes.plot(steps, values, marker='o', markersize=3, label=name)
  for i, (name, value) in enumerate(levels.items()):
    style = (0, (5, 2 + 2 * i))
    axes.axhline(value, color='0.45', linewidth=1, linestyle=style)
    axes.annotate(
      f'{name}: {value:.2f}',
      (1, value),
      xycoords=('axes fraction', 'data'),
      xytext=(-4, 3),
      textcoords='offset points',
      ha='right',
      fontsize=8,
      color='0.3',
    )
  axes.set_xlabel('training step')
  axes.set_ylabel(unit)
  axes.grid(alpha=0.25)
  axes.legend(loc='upper center')
  for side in ('top', 'right'):
    axes.spines[side].set_visible(False)
  with written_beside(path) as part:
    figure.savefig(part, format='png')

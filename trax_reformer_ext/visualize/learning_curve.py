"""The learning curves of runs."""

from trax_reformer_ext.visualize.saving import save_picture
from trax_reformer_ext.visualize.style import (
  COLOURS,
  literal_legend,
  new_figure,
  open_axes,
)


def draw_learning_curve(path, curves, levels, unit='bits per byte'):
  """Writes a PNG of loss against training steps.

  Args:
    path: str, where to write; an old picture is replaced when the new one is
      complete.
    curves: dict from name to a list of (step, value).
    levels: dict from name to a value that is drawn as a horizontal line.
    unit: str, label of the vertical axis.
  """
  save_picture(path, plot_learning_curves({'': curves}, levels, unit))


def plot_learning_curves(runs, levels=None, unit='bits per dim'):
  """Draws loss against training steps, of one run or several.

  Args:
    runs: dict from name of a run to its curves, a dict from name ('training',
      'held-out') to a list of (step, value).
    levels: dict from name to a value that is drawn as a horizontal line; or
      None.
    unit: str, label of the vertical axis.

  Returns:
    matplotlib's Figure.
  """
  figure = new_figure(8, 4.6)
  axes = figure.subplots()
  for i, (run, curves) in enumerate(runs.items()):
    for j, (name, points) in enumerate(curves.items()):
      alone = len(runs) == 1
      style = dict(color=COLOURS[(j if alone else i) % len(COLOURS)])
      if not alone and name == 'training':
        style |= dict(linestyle=':', linewidth=1.2)
      else:
        style |= dict(marker='os'[j % 2], markersize=3)
      label = name if alone else f'{run}: {name}'
      axes.plot(*zip(*points, strict=True), label=label, **style)
  for i, (name, value) in enumerate((levels or {}).items()):
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
  open_axes(axes)
  # Curves come from the upper left and end at the lower right.
  literal_legend(axes, loc='upper center' if levels else 'upper right')
  return figure

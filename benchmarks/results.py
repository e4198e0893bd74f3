"""Where benchmarks leave their figures and pictures."""

import json
import pathlib


def save(folder, name, found, *pictures):
  """Writes figures as JSON, and a picture beside them.

  Args:
    folder: str, made where it is missing.
    name: str, of the files.
    found: what JSON holds.
    *pictures: (name, matplotlib's Figure) of each PNG.
  """
  # Imported here, as Trax comes with it.
  from trax_reformer_ext import visualize
  from trax_reformer_ext.files import written_beside

  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  with written_beside(str(folder / f'{name}.json')) as part:
    pathlib.Path(part).write_text(json.dumps(found, indent=1) + '\n')
  for picture, figure in pictures:
    visualize.save_picture(folder / f'{picture}.png', figure)


def bars(groups, xlabel, title, log=False, decimals=2):
  """Draws a bar for each series of each group, with its value.

  Args:
    groups: dict from labels of groups to dicts from series to floats; a series
      may be missing from a group.
    xlabel: str, with the unit.
    title: str.
    log: bool, whether the axis is logarithmic.
    decimals: int, of the values.

  Returns:
    matplotlib's Figure.
  """
  from trax_reformer_ext.visualize import style

  series = list(dict.fromkeys(s for group in groups.values() for s in group))
  colours = dict(zip(series, style.colours_of(len(series)), strict=True))
  n_bars = sum(len(group) for group in groups.values())
  figure = style.new_figure(8, 1.4 + 0.24 * n_bars + 0.12 * len(groups))
  axes = figure.subplots()
  y, ticks = 0.0, []
  for group in groups.values():
    places = [y + i for i in range(len(group))]
    ticks.append(sum(places) / len(places))
    drawn = axes.barh(
      places,
      list(group.values()),
      color=[colours[s] for s in group],
      height=0.85,
    )
    axes.bar_label(drawn, fmt=f'{{:,.{decimals}f}}', padding=3, fontsize=8)
    y = places[-1] + 1.7
  axes.set_yticks(ticks, labels=list(groups), fontsize=9)
  axes.invert_yaxis()
  axes.set(xlabel=xlabel)
  if log:
    axes.set(xlabel=f'{xlabel}, logarithmic', xscale='log')
  axes.margins(x=0.12)
  style.open_axes(axes)
  axes.grid(axis='y', visible=False)
  # Over the whole figure: names on the left leave the axes little room.
  figure.suptitle(title, fontsize=11)
  if len(series) > 1:
    from matplotlib.patches import Patch

    figure.legend(
      handles=[Patch(color=colours[s], label=s) for s in series],
      loc='outside lower center',
      ncols=min(4, len(series)),
      frameon=False,
      fontsize=9,
    )
  return figure

"""How memory and time grow, by the benchmarks' measurements."""

import math

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.visualize.style import (
  COLOURS,
  literal_legend,
  literal_title,
  new_figure,
  open_axes,
)

_OURS = 'this package'
_EXACT = 'exact'


def read_curves(measured, name):
  """Curves from what a benchmark has written.

  Args:
    measured: what its JSON holds: dict from labels to dicts from the size
      measured at (int, or str of one) to the figure (number > 0).
    name: str, what messages call it.

  Returns:
    dict from labels to lists of (int, float), in the order of the sizes;
    curves without a figure are left out.

  Raises:
    ReformerError: it is anything else.
  """
  try:
    curves = {
      label: sorted((int(size), float(y)) for size, y in curve.items())
      for label, curve in measured.items()
    }
    points = [point for curve in curves.values() for point in curve]
    if not points or not all(x > 0 and 0 < y < math.inf for x, y in points):
      raise ValueError('no figure, or one that is not above 0')
  except (AttributeError, TypeError, ValueError) as e:
    raise ReformerError(
      f'{name}, which is no measurement: give the JSON that a benchmark '
      'writes, {"label": {"1024": 12.3, ...}, ...}'
    ) from e
  return {label: curve for label, curve in curves.items() if curve}


def plot_time(curves, title=None):
  """Draws time per token by length, both logarithmic.

  Args:
    curves: dict from labels to lists of (length, microseconds a token).
    title: str or None.

  Returns:
    matplotlib's Figure.
  """
  from matplotlib import ticker

  figure = new_figure(8, 5.4)
  axes = figure.subplots()
  _draw(axes, curves, title)
  axes.set(
    xscale='log',
    yscale='log',
    xlabel='length, tokens',
    ylabel='microseconds a token',
  )
  ticks = sorted({x for curve in curves.values() for x, _ in curve})
  axes.set_xticks(ticks, labels=[_short(x) for x in ticks])
  axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
  axes.yaxis.set_major_formatter(ticker.StrMethodFormatter('{x:g}'))
  axes.minorticks_off()
  return figure


def plot_memory(curves, title=None):
  """Draws memory by depth.

  Args:
    curves: dict from labels to lists of (layers, MiB).
    title: str or None.

  Returns:
    matplotlib's Figure.
  """
  figure = new_figure(8, 4.7)
  axes = figure.subplots()
  _draw(axes, curves, title)
  axes.set(xlabel='layers', ylabel='temporary memory, MiB')
  axes.set_xticks(sorted({x for curve in curves.values() for x, _ in curve}))
  axes.set_xlim(left=0)
  axes.set_ylim(bottom=0)
  return figure


def _draw(axes, curves, title):
  """Curves with a legend; this package's stand out, exact attention is grey."""
  from matplotlib import colormaps

  own = [label for label in curves if label.startswith(_OURS)]
  others = iter((COLOURS[1:4] + COLOURS[5:6]) * len(curves))
  dashes = iter(['--', '-.', ':'] * len(curves))
  for label, curve in curves.items():
    if label in own:
      shade = 0.75 * own.index(label) / max(1, len(own) - 1)
      style = dict(color=colormaps['cividis'](shade), linewidth=2.5)
    elif label.startswith(_EXACT):
      style = dict(color='0.35', linestyle=next(dashes), linewidth=1.5)
    else:
      style = dict(color=next(others), linestyle=':', linewidth=2)
    marker = 'o' if label in own else 's'
    axes.plot(
      *zip(*curve, strict=True),
      label=label,
      marker=marker,
      markersize=4,
      **style,
    )
  if title:
    literal_title(axes, title)
  # Below the axes, where no curve goes.
  below = dict(loc='upper center', bbox_to_anchor=(0.5, -0.13))
  literal_legend(axes, ncols=3, frameon=False, **below)
  open_axes(axes)


def _short(n):
  """1024 as 1K, 2^20 as 1M; others as they are."""
  for size, unit in ((2**20, 'M'), (2**10, 'K')):
    if n >= size and n % size == 0:
      return f'{n // size}{unit}'
  return f'{n:,}'

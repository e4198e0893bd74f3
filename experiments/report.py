"""Tables and pictures of results."""

import statistics

from runs import read

from trax_reformer_ext.files import written_beside
from trax_reformer_ext.visualize.style import (
  colours_of,
  literal_legend,
  new_figure,
  open_axes,
)


def table(header, rows):
  """A table in Markdown."""
  lines = [header, ['---'] * len(header), *rows]
  return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def mean_and_spread(values):
  """The mean, and the lowest and highest of several seeds."""
  mean = statistics.mean(values)
  if len(values) == 1:
    return f'{mean:.3f}'
  return f'{mean:.3f} ({min(values):.3f} to {max(values):.3f})'


def minutes(found):
  """The mean time that runs trained, of what runs.read gives."""
  mean = statistics.mean(figures['training seconds'] for figures in found)
  return f'{mean / 60:.1f} min'


def compare(groups, results, header, path, memory=False):
  """Prints bits of the split test by kind of run, and draws the curves.

  Args:
    groups: dict from labels to lists of Run, one a seed.
    results: pathlib.Path, as of runs.read.
    header: (what the labels are, unit of the bits).
    path: pathlib.Path of a PNG.
    memory: bool, whether XLA's memory is among the results.
  """
  what, unit = header
  # Seeds are those of weights and batches alike: so they pair runs.
  columns = [what, f'test, {unit}', 'less the first, seed by seed']
  columns += [*(['memory'] if memory else []), 'training']
  rows, curves = [], {}
  first = None
  for label, runs in groups.items():
    found = [read(run, results) for run in runs]
    bits = [f['all: test, bits'] for f in found]
    first = first or bits
    less = [f'{b - f:+.3f}' for b, f in zip(bits, first, strict=True)]
    beside = '' if bits is first else ', '.join(less)
    row = [label, mean_and_spread(bits), beside]
    if memory:
      row.append(f'{found[0]["temporary memory, mib"]:.1f} MiB')
    rows.append([*row, minutes(found)])
    curves[label] = [f['held-out bits/dim'] for f in found]
  print(table(columns, rows))
  curves_plot(path, curves, f'held-out {unit.replace("/", " per ")}')


def curves_plot(path, curves, ylabel):
  """Draws learning curves, one thin line a seed.

  Args:
    path: pathlib.Path of a PNG.
    curves: dict from labels to lists of curves, lists of (step, value).
    ylabel: str.
  """
  figure, axes = _axes()
  for (label, seeds), colour in zip(
    curves.items(), colours_of(len(curves)), strict=True
  ):
    for i, curve in enumerate(seeds):
      # The first evaluation is of untrained weights and would set the scale.
      points = list(zip(*curve[1:], strict=True))
      axes.plot(
        *points, color=colour, linewidth=1.3, label=None if i else label
      )
  axes.set(xlabel='step', ylabel=ylabel)
  literal_legend(axes, frameon=False)
  _save(figure, path)


def line_plot(path, lines, xlabel, ylabel, xticks):
  """Draws lines over named places."""
  figure, axes = _axes()
  colours = colours_of(len(lines))
  for (label, points), colour, marker in zip(
    lines.items(), colours, 'osD^', strict=False
  ):
    axes.plot(
      *zip(*points, strict=True), color=colour, marker=marker, label=label
    )
  axes.set(xlabel=xlabel, ylabel=ylabel)
  axes.set_xticks(range(len(xticks)), labels=xticks)
  literal_legend(axes, frameon=False)
  _save(figure, path)


def _axes():
  figure = new_figure(8, 4.5)
  axes = figure.subplots()
  open_axes(axes)
  return figure, axes


def _save(figure, path):
  path.parent.mkdir(parents=True, exist_ok=True)
  with written_beside(str(path)) as part:
    figure.savefig(part, format='png')
  print(f'Picture: {path}\n')

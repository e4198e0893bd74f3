"""Tables and pictures of results."""

import statistics

import numpy as np
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


def mean_and_spread(values, decimals=3):
  """The mean, and the lowest and highest of several seeds."""
  mean, lowest, highest = (
    f'{x:.{decimals}f}'
    for x in (statistics.mean(values), min(values), max(values))
  )
  if len(values) == 1:
    return mean
  return f'{mean} ({lowest} to {highest})'


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

  Where there are several seeds, a second panel has the differences from the
  first label's curve of the same seed: their mean, lowest and highest.

  Args:
    path: pathlib.Path of a PNG.
    curves: dict from labels to lists of curves, lists of (step, value), all of
      the same steps.
    ylabel: str.
  """
  # The first evaluation is of untrained weights and would set the scale.
  curves = {label: np.array(seeds)[:, 1:] for label, seeds in curves.items()}
  first, *others = curves
  paired = len(curves[first]) > 1
  figure = new_figure(12 if paired else 8, 4.5)
  axes, *beside = figure.subplots(1, 1 + paired, squeeze=False)[0]
  colours = dict(zip(curves, colours_of(len(curves)), strict=True))
  steps = curves[first][0, :, 0]
  for label, seeds in curves.items():
    lines = axes.plot(
      steps, seeds[..., 1].T, color=colours[label], linewidth=1.3
    )
    lines[0].set_label(label)
  _finish(axes, 'step', ylabel)
  for axes in beside:
    axes.axhline(0, color=colours[first], linewidth=1.3, label=first)
    for label in others:
      less = curves[label][..., 1] - curves[first][..., 1]
      axes.plot(steps, less.mean(0), color=colours[label], label=label)
      axes.fill_between(
        steps, less.min(0), less.max(0), color=colours[label], alpha=0.15
      )
    _finish(axes, 'step', f'more than {first}, of the same seed')
  _save(figure, path)


def line_plot(path, lines, xlabel, ylabel, xticks):
  """Draws lines over named places."""
  figure = new_figure(8, 4.5)
  axes = figure.subplots()
  colours = colours_of(len(lines))
  for (label, points), colour, marker in zip(
    lines.items(), colours, 'osD^', strict=False
  ):
    axes.plot(
      *zip(*points, strict=True), color=colour, marker=marker, label=label
    )
  axes.set_xticks(range(len(xticks)), labels=xticks)
  _finish(axes, xlabel, ylabel)
  _save(figure, path)


def _finish(axes, xlabel, ylabel):
  axes.set(xlabel=xlabel, ylabel=ylabel)
  literal_legend(axes, frameon=False)
  open_axes(axes)


def _save(figure, path):
  path.parent.mkdir(parents=True, exist_ok=True)
  with written_beside(str(path)) as part:
    figure.savefig(part, format='png')
  print(f'Picture: {path}\n')

"""The three modes of LSH attention: bits, time, and what leaks."""

import long_text
from report import mean_and_spread, minutes, table
from runs import read

_RUNS = {
  'strictly causal': long_text.VARIANTS['LSH-2'],
  "the paper's": long_text.VARIANTS["the paper's mode"],
  "Trax's": long_text.VARIANTS["Trax's mode"],
}
RUNS = sum(_RUNS.values(), [])


def report(results, pictures):
  del pictures
  rows = []
  for name, runs in _RUNS.items():
    found = [read(run, results) for run in runs]
    of = lambda what, found=found: [f[f'all: test, {what}'] for f in found]
    rows.append(
      [
        name,
        mean_and_spread(of('bits')),
        mean_and_spread(of('whole')),
        mean_and_spread(of('prefix')),
        ', '.join(
          f'{leak:+.4f} ± {error:.4f}'
          for leak, error in zip(of('leak'), of('error'), strict=True)
        ),
        minutes(found),
      ]
    )
  header = ['mode', 'test, bits/byte', 'at some positions']
  header += ['by prefixes', 'leak (each seed, with standard error)', 'training']
  print(table(header, rows))

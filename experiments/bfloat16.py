"""Activations in bfloat16 and in float32: the same curve."""

import long_text
from report import curves_plot, mean_and_spread, minutes, table
from runs import read

_RUNS = {
  'float32': long_text.VARIANTS['LSH-2'],
  'bfloat16': long_text.VARIANTS['LSH-2, bfloat16'],
}
RUNS = sum(_RUNS.values(), [])


def report(results, pictures):
  rows, curves = [], {}
  for name, runs in _RUNS.items():
    found = [read(run, results) for run in runs]
    bits = mean_and_spread([f['all: test, bits'] for f in found])
    rows.append([name, bits, minutes(found)])
    curves[name] = [f['held-out bits/dim'] for f in found]
  print(table(['activations', 'test, bits/byte', 'training'], rows))
  curves_plot(pictures / 'bfloat16.png', curves, 'held-out bits per byte')

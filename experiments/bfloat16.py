"""Activations in bfloat16 and in float32: the same curve."""

import long_text
from report import compare

_RUNS = {
  'float32': long_text.VARIANTS['LSH-2'],
  'bfloat16': long_text.VARIANTS['LSH-2, bfloat16'],
}
RUNS = sum(_RUNS.values(), [])


def report(results, pictures):
  header = 'activations', 'bits/byte'
  compare(_RUNS, results, header, pictures / 'bfloat16.png')

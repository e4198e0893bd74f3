"""Whether the LSH layers contribute, on text longer than the local window."""

import long_text
from report import mean_and_spread, table
from runs import read

_WITH = long_text.VARIANTS['LSH-2']
_WITHOUT = long_text.VARIANTS['trained without LSH']
RUNS = _WITH + _WITHOUT


def report(results, pictures):
  del pictures
  found = [read(run, results) for run in _WITH]
  bits = lambda what: mean_and_spread([f[f'all: {what}, bits'] for f in found])
  without = [read(run, results)['all: test, bits'] for run in _WITHOUT]
  rows = [
    ['LSH attention, 2 rounds', bits('test')],
    ['the same, with random buckets', bits('test, LSH random buckets')],
    ['the same, with zeros in its place', bits('test, LSH zeroed')],
    ['trained with zeros in its place', mean_and_spread(without)],
  ]
  print(table(['', 'test, bits/byte'], rows))

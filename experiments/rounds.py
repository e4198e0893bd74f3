"""Figure 4: full attention and rounds of hashing, on text and on images."""

import long_text
from report import curves_plot, mean_and_spread, minutes, table
from runs import Run, read, with_seeds

KINDS = ('full', 'LSH-8', 'LSH-4', 'LSH-2', 'LSH-1')
_TEXT = {kind: long_text.VARIANTS[kind] for kind in KINDS}
_IMAGES = {
  kind: with_seeds(
    Run(
      f'images/{kind.lower()}',
      'images',
      long_text.FULL if kind == 'full' else long_text.rounds(kind[4:]),
      {'all': ['--split=test']},
    )
  )
  for kind in KINDS
}
RUNS = sum([*_TEXT.values(), *_IMAGES.values()], [])


def report(results, pictures):
  for name, unit, of_kind in (
    ('text', 'bits/byte', _TEXT),
    ('images', 'bits/dim', _IMAGES),
  ):
    rows, curves = [], {}
    for kind, runs in of_kind.items():
      found = [read(run, results) for run in runs]
      bits = mean_and_spread([f['all: test, bits'] for f in found])
      rows.append([kind, bits, minutes(found)])
      curves[kind] = [f['held-out bits/dim'] for f in found]
    print(table(['attention', f'test, {unit}', 'training'], rows))
    path = pictures / f'rounds_{name}.png'
    curves_plot(path, curves, f'held-out {unit.replace("/", " per ")}')

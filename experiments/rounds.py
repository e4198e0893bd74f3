"""Figure 4: full attention and rounds of hashing, on text and on images."""

import long_text
from report import compare
from runs import Run, with_seeds

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
    path = pictures / f'rounds_{name}.png'
    compare(of_kind, results, ('attention', unit), path)

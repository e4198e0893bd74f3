"""Small fake texts for vocabularies."""

import numpy as np

VOCABULARY = 'trax_reformer_ext.train_text_vocabulary'
SMALL = f'--config={VOCABULARY}.vocab_size=80'


def text(n_lines=300, seed=0):
  """Lines of made-up words, some indented, with odd spaces between others."""
  rng = np.random.default_rng(seed)
  letters = list('aabcdeeefghiijklmnoopqrstuuvwxyzéß日')
  words = [''.join(rng.choice(letters, n)) for n in rng.integers(1, 8, 200)]
  gaps = [' '] * 20 + ['  ', '\t', ', ', '\u00a0', ' "', '▁', '\r\n\n', '\0']
  lines = []
  for _ in range(n_lines):
    parts = ['    ' * rng.integers(0, 3)]
    for word in rng.choice(words, rng.integers(1, 9)):
      parts += [word, gaps[rng.integers(len(gaps))]]
    lines.append(''.join(parts))
  return '\n'.join(lines) + '\n'

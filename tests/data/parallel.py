"""Small fake parallel texts."""

import gzip

import numpy as np

_WORDS = {
  'en': 'a the dog cat runs sees green house under blue sky with two boys',
  'de': 'ein der hund katze läuft sieht grün haus unter blau und mit zwei',
}
SMALL = '--config=trax_reformer_ext.train_vocabulary.vocab_size=48'


def sentences(language, n, seed=0, longest=20):
  """n sentences of 1 to longest words."""
  rng = np.random.default_rng([seed, len(language)])
  words = _WORDS[language].split()
  return [
    ' '.join(rng.choice(words, rng.integers(1, longest + 1))) for _ in range(n)
  ]


def write(path, lines, end='\n'):
  """Writes lines to a file, gzipped if it is called so; returns its path."""
  data = ''.join(line + end for line in lines).encode()
  path.write_bytes(gzip.compress(data) if path.suffix == '.gz' else data)
  return path


def write_pair(folder, n, seed=0, name='train'):
  """Writes n pairs; returns their two paths."""
  return [
    write(folder / f'{name}.{language}', sentences(language, n, seed))
    for language in ('en', 'de')
  ]


def flags(source, target, prefix=''):
  return [f'--{prefix}source={source}', f'--{prefix}target={target}']

"""The translation part of trax-reformer prepare."""

import pathlib

import numpy as np
import tensorflow_datasets as tfds

from trax_reformer_ext.data.builders import BUILDERS
from trax_reformer_ext.data.pairs import open_pairs, text_features
from trax_reformer_ext.data.prepared_vocabulary import train_vocabulary
from trax_reformer_ext.errors import ReformerError


def tfds_builder(name, data_dir, parameters):
  """The builder of a data set of TFDS that has pairs of texts.

  Args:
    name: str, such as 'wmt14_translate/de-en'.
    data_dir: pathlib.Path.
    parameters: dict, which may hold the languages source and target.

  Returns:
    tfds.core.DatasetBuilder.

  Raises:
    ReformerError: TFDS has no such data set, it has no pairs of texts, or
      another parameter is given.
  """
  for parameter, value in parameters.items():
    if parameter not in ('source', 'target'):
      raise ReformerError(
        f'--{parameter} is {value!r}, but {name} has no such parameter: leave '
        'it out'
      )
  try:
    builder = tfds.builder(name, data_dir=str(data_dir))
    if not pathlib.Path(builder.data_dir).exists():
      builder = tfds.builder(
        name, data_dir=str(data_dir), file_format='array_record'
      )
  except tfds.core.DatasetNotFoundError as e:
    raise ReformerError(
      f'NAME is {name!r}: give one of {", ".join(sorted(BUILDERS))}, or a data '
      'set of TFDS with pairs of texts, such as wmt14_translate/de-en'
    ) from e
  except ValueError as e:  # a config that it does not have, among others
    raise ReformerError(
      f'NAME is {name!r}, which TFDS refuses ({str(e).splitlines()[0]})'
    ) from e
  languages(builder.info, **parameters)
  return builder


def languages(info, source=None, target=None):
  """The two features of a data set that are translated.

  Args:
    info: tfds.core.DatasetInfo.
    source: str, name of a feature with text; None for what TFDS takes.
    target: str, another one.

  Returns:
    (source, target).

  Raises:
    ReformerError: it does not have them.
  """
  known = list(text_features(info))
  if len(known) < 2:
    raise ReformerError(
      f'NAME is {info.full_name}, which has no pairs of texts: give another '
      'data set, such as wmt14_translate/de-en'
    )
  supervised = [x for x in info.supervised_keys or () if x in known]
  pair = supervised if len(supervised) == 2 else known[:2]
  for parameter, value, other in (
    ('source', source, target),
    ('target', target, source),
  ):
    if value is not None and (value not in known or value == other):
      raise ReformerError(
        f'--{parameter} is {value!r}: give one of {", ".join(known)}, the '
        f'texts of {info.full_name}, and another one for the other side'
      )
  if source is None:
    source = next(x for x in pair if x != target)
  return source, target or next(x for x in pair if x != source)


def add_vocabulary(builder, source=None, target=None):
  """Trains the vocabulary of a prepared data set, and says what there is.

  Args:
    builder: tfds.core.DatasetBuilder.
    source: str, as of languages().
    target: str, as of languages().

  Raises:
    ReformerError: as train_vocabulary.
  """
  pair = languages(builder.info, source, target)
  splits = open_pairs(builder, pair)
  folder = pathlib.Path(builder.data_dir)
  prepared, there = train_vocabulary(folder, splits, pair)
  vocabulary = prepared.vocabulary
  print(
    f'Vocabulary {prepared.name} {"is already there" if there else "trained"}: '
    f'{vocabulary.path} ({vocabulary.size:,} ids)'
  )
  for split, pairs in splits.items():
    lengths = prepared.lengths(split)
    tokens = ' '.join(
      f'{n:>14,} tokens of {language}'
      for language, n in zip(
        prepared.languages, lengths.sum(axis=0, dtype=np.int64), strict=True
      )
    )
    empty = (lengths == 1).any(axis=1).sum()
    note = f', {empty:,} with an empty side' if empty else ''
    print(f'  {split:<11}{len(pairs):>10,} pairs {tokens}{note}')

"""Prepared data sets as sequences of tokens."""

import functools
import pathlib

import numpy as np
import tensorflow_datasets as tfds

from trax_reformer_ext.data.records import open_records, prepared_infos
from trax_reformer_ext.data.text_vocabulary import MODEL, TextVocabulary
from trax_reformer_ext.errors import ReformerError


class RecordTokens:
  """Records, one after the other, as tokens: len() and read(start, n)."""

  def __init__(self, records):
    """Takes what has a length, n_tokens and records[i]."""
    self._records = records

  def __len__(self):
    return self._records.n_tokens

  def read(self, start, n):
    """Ids int32 [n], from as many records as hold them."""
    length = self._records.length
    first, skip = divmod(start, length)
    end = (start + n - 1) // length + 1
    if end == first + 1:
      return self._records[first][skip : skip + n]
    parts = [self._records[i] for i in range(first, end)]
    return np.concatenate(parts)[skip : skip + n]


def is_prepared(dataset_name, data_dir):
  """Whether `trax-reformer prepare` has written a data set there."""
  folder = data_dir or tfds.core.constants.DATA_DIR
  return bool(prepared_infos(dataset_name, pathlib.Path(folder).expanduser()))


def open_splits(dataset_name, data_dir, **config):
  """Opens the splits of a prepared data set, and says what it is.

  Args:
    dataset_name: str, such as 'enwik8'.
    data_dir: str, where it was prepared; None for TFDS's default.
    **config: as of open_records.

  Returns:
    (dict from split to RecordTokens, Records of the split 'train').

  Raises:
    ReformerError: as open_records.
  """
  open_split = functools.partial(open_records, dataset_name, data_dir, **config)
  train = open_split('train')
  print(f'Data: {train.description}')
  splits = {split: RecordTokens(open_split(split)) for split in train.splits}
  return splits, train


def open_vocabulary(records):
  """Opens the vocabulary that the data set 'subwords' was encoded with.

  Args:
    records: Records of any of its splits.

  Returns:
    TextVocabulary.

  Raises:
    ReformerError: the vocabulary is missing, damaged or another one.
  """
  vocabulary = TextVocabulary(records.folder / MODEL)
  if vocabulary.size != records.vocab_size:
    raise ReformerError(
      f'vocabulary {vocabulary.path} has {vocabulary.size:,} ids, not the '
      f'{records.vocab_size:,} of the data beside it: remove its directory and '
      'run trax-reformer prepare again'
    )
  return vocabulary

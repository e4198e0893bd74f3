"""Random access to the records of a prepared data set, without an index."""

import bisect
import itertools
import os
import pathlib
import struct

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from trax_reformer_ext.errors import ReformerError

# A TFRecord is its length (8 bytes), a checksum (4), the data, a checksum (4).
_BEFORE, _AFTER = 12, 4


class Records:
  """The records of one split, read one at a time and in any order.

  All records of a split have one size, so that record i lies at a place that
  is computed. Nothing is kept open or in memory: threads may share an object.

  Attributes:
    name: str, of the data set.
    folder: pathlib.Path, where it lies.
    description: str, one line for the user: what the data is made of.
    splits: list of str, all of the data set.
    length: int, token ids in a record.
    n_tokens: int, in the split, without the padding of the last record.
    vocab_size: int.
  """

  def __init__(self, info, split):
    """Looks at the files of a split, without reading them.

    Args:
      info: tfds.core.DatasetInfo of a prepared builder of this package.
      split: str, such as 'train'.

    Raises:
      ReformerError: an unknown split, or files that are missing or cut off.
    """
    if split not in info.splits:
      raise ReformerError(
        f'split is {split!r}, which {info.full_name} does not have: give one '
        f'of {", ".join(info.splits)}'
      )
    self.name, self.folder = info.name, pathlib.Path(info.data_dir)
    self.description = info.metadata['description']
    self.splits = list(info.splits)
    self.vocab_size = info.metadata['vocab_size']
    self.n_tokens = info.metadata['n_tokens'][split]
    (self.length,) = info.features['inputs'].shape
    self._head = _head(self.length)
    self._size = _BEFORE + len(self._head) + 4 * self.length + _AFTER
    self._paths = [os.fspath(p) for p in info.splits[split].filepaths]
    counts = info.splits[split].shard_lengths
    self._ends = list(itertools.accumulate(counts))
    for path, count in zip(self._paths, counts, strict=True):
      self._check_size(path, count)

  def __len__(self):
    return self._ends[-1]

  def __getitem__(self, i):
    """Returns the token ids of record i: int32 [length].

    Raises:
      IndexError: there is no record i.
      ReformerError: the record is damaged, or its file can't be read.
    """
    if not -len(self) <= i < len(self):
      raise IndexError(f'record {i} of {len(self)}')
    i %= len(self)
    shard = bisect.bisect_right(self._ends, i)
    place = i - (self._ends[shard - 1] if shard else 0)
    record = self._read(self._paths[shard], place * self._size)
    data_size = self._size - _BEFORE - _AFTER
    start = _BEFORE + len(self._head)
    if (
      len(record) != self._size
      or struct.unpack_from('<Q', record)[0] != data_size
      or record[_BEFORE:start] != self._head
    ):
      raise ReformerError(
        f'{self._paths[shard]} is damaged at record {place}: {_AGAIN}'
      )
    # A copy, because the ids lie at an odd place.
    return np.frombuffer(record, '<i4', self.length, start).astype(np.int32)

  def _read(self, path, offset):
    try:
      file = os.open(path, os.O_RDONLY)
      try:
        return os.pread(file, self._size, offset)
      finally:
        os.close(file)
    except OSError as e:
      raise ReformerError(f'{path} cannot be read ({e.strerror})') from e

  def _check_size(self, path, count):
    try:
      size = os.stat(path).st_size
    except OSError as e:
      raise ReformerError(
        f'{path} cannot be read ({e.strerror}): {_AGAIN}'
      ) from e
    if size != count * self._size:
      raise ReformerError(
        f'{path} has {size:,} bytes, not the {count * self._size:,} of its '
        f'records: {_AGAIN}'
      )


_AGAIN = 'remove its directory and run trax-reformer prepare again'


def open_records(dataset_name, data_dir, split, **config):
  """Opens a split of a data set that `trax-reformer prepare` has written.

  Args:
    dataset_name: str, such as 'enwik8'.
    data_dir: str, where it was prepared; None for TFDS's default.
    split: str, such as 'train'.
    **config: parameters that it was prepared with, such as length=65536; one
      that is None or not given may be anything.

  Returns:
    Records. Where a whole data set and a prefix are there, of the whole.

  Raises:
    ReformerError: it is not there (the message says how to prepare it), it is
      there with other parameters (it says which), or several would do.
  """
  data_dir = pathlib.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
  wanted = {k: _plain(k, v) for k, v in config.items() if v is not None}
  command = _command(dataset_name, data_dir, wanted)
  return Records(find_info(dataset_name, data_dir, wanted, command), split)


def find_info(dataset_name, data_dir, wanted, command):
  """The one prepared version of a data set that fits.

  Args:
    dataset_name: str, such as 'enwik8'.
    data_dir: pathlib.Path, where it was prepared.
    wanted: dict, parameters that it was prepared with.
    command: str, what would prepare it.

  Returns:
    tfds.core.DatasetInfo. Where a whole data set and a prefix are there, of the
    whole.

  Raises:
    ReformerError: as open_records.
  """
  prepared = prepared_infos(dataset_name, data_dir)
  fitting = [
    info
    for info in prepared
    if wanted.items() <= info.metadata['parameters'].items()
  ]
  whole = [i for i in fitting if not i.metadata['parameters'].get('prefix')]
  fitting = whole or fitting
  if len(fitting) == 1:
    return fitting[0]
  if fitting:
    names = ', '.join(_words(i.metadata['parameters']) for i in fitting)
    raise ReformerError(
      f'{dataset_name} in {data_dir} is prepared several times ({names}): say '
      'which one by these parameters'
    )
  if prepared:
    there = ' or '.join(_words(i.metadata['parameters']) for i in prepared)
    raise ReformerError(
      f'{dataset_name} in {data_dir} is prepared with {there}, not with '
      f'{_words(wanted)}: run {command}'
    )
  raise ReformerError(
    f'{dataset_name} is not prepared in {data_dir}: run {command}'
  )


def prepared_infos(dataset_name, data_dir):
  """The infos of all complete versions of a data set in a directory.

  Args:
    dataset_name: str.
    data_dir: pathlib.Path.

  Returns:
    list of tfds.core.DatasetInfo, by the name of the config.
  """
  # An unfinished one is called incomplete.*.
  files = sorted(
    (data_dir / dataset_name).glob('*/[0-9]*.[0-9]*.[0-9]*/metadata.json')
  )
  infos = [tfds.builder_from_directory(f.parent).info for f in files]
  return [i for i in infos if 'parameters' in i.metadata]


def _command(name, data_dir, parameters):
  source = parameters.get('source')
  command = f'trax-reformer prepare {name}{f"/{source}" if source else ""}'
  flags = [f'--data_dir={data_dir}']
  flags += [
    f'--{k}={parameters[k]}' for k in ('length', 'path') if k in parameters
  ]
  return ' '.join([command, *flags])


def _plain(name, value):
  return str(pathlib.Path(value).resolve()) if name == 'path' else value


def _words(parameters):
  return ' '.join(f'{k}={v}' for k, v in parameters.items() if v is not None)


def _head(length):
  """What stands before the ids in every serialized tf.train.Example."""
  ids = tf.train.BytesList(value=[bytes(4 * length)])
  features = {'inputs': tf.train.Feature(bytes_list=ids)}
  example = tf.train.Example(features=tf.train.Features(feature=features))
  return example.SerializeToString()[: -4 * length]

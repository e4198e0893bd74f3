"""Pairs of texts in prepared data sets, by random access."""

import functools
import pathlib

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import read_only_builder

from trax_reformer_ext.data.builders import BUILDERS, base, folders
from trax_reformer_ext.data.records import find_info
from trax_reformer_ext.data.tokens import HELD_OUT
from trax_reformer_ext.errors import ReformerError

# Read at once when all of them are.
_CHUNK = 4096


class Pairs:
  """The pairs of texts of one split, in the order in which they are stored.

  A sequence of (source str, target str). Threads may share an object.
  """

  def __init__(self, builder, split, languages):
    """Looks at a split, without reading it.

    Args:
      builder: tfds.core.DatasetBuilder, prepared as array_record.
      split: str, as TFDS takes it, such as 'train[:95%]'.
      languages: (source, target), names of features with text.

    Raises:
      ReformerError: there is no random access to its files.
    """
    texts = text_features(builder.info)
    self._paths = [texts[language] for language in languages]
    self._folder = builder.data_dir
    try:
      self._examples = builder.as_data_source(split=split)
    except NotImplementedError as e:
      raise ReformerError(
        f'{self._folder} is prepared as {builder.info.file_format.value}, not '
        f'as array_record: {_AGAIN}'
      ) from e

  def __len__(self):
    return len(self._examples)

  def __getitem__(self, i):
    if not -len(self) <= i < len(self):
      raise IndexError(f'pair {i} of {len(self)}')
    return self.read([i % len(self)])[0]

  def __iter__(self):
    for start in range(0, len(self), _CHUNK):
      yield from self.read(range(start, min(start + _CHUNK, len(self))))

  def read(self, numbers):
    """The pairs of these numbers, as a list.

    Raises:
      ReformerError: the files are missing or damaged.
    """
    try:
      examples = self._examples.__getitems__([int(i) for i in numbers])
    except Exception as e:  # array_record raises errors of all kinds
      raise ReformerError(
        f'{self._folder} cannot be read ({str(e).splitlines()[0]}): {_AGAIN}'
      ) from e
    return [tuple(_text(x, path) for path in self._paths) for x in examples]


_AGAIN = 'remove this directory and run trax-reformer prepare again'


def open_pairs(builder, languages):
  """The splits of a prepared data set.

  Args:
    builder: tfds.core.DatasetBuilder.
    languages: (source, target), names of features with text.

  Returns:
    dict from 'train', 'validation' and 'test' to Pairs. One of the last two
    that the data set does not have is 5 % from the end of 'train'.

  Raises:
    ReformerError: it has no split 'train', or one of few pairs.
  """
  name, splits = builder.info.full_name, builder.info.splits
  if 'train' not in splits:
    raise ReformerError(
      f'{name} has the splits {", ".join(splits)} but no train: use another '
      'data set'
    )
  missing = tuple(split for split in HELD_OUT if split not in splits)
  borders = base.split_borders(splits['train'].num_examples, name, missing)
  return {
    split: Pairs(
      builder,
      f'train[{borders[split][0]}:{borders[split][1]}]'
      if split in borders
      else split,
      languages,
    )
    for split in ('train', *HELD_OUT)
  }


def find_builder(dataset_name, data_dir, source=None):
  """Finds a prepared data set with pairs of texts.

  Args:
    dataset_name: str, 'translation', or a data set of TFDS with its config.
    data_dir: str, where it was prepared; None for TFDS's default.
    source: str, the file that 'translation' was prepared from; None for the
      only one.

  Returns:
    tfds.core.DatasetBuilder.

  Raises:
    ReformerError: it is not there; the message says how to prepare it.
  """
  data_dir = pathlib.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
  own = BUILDERS.get(dataset_name)
  if own and issubclass(own, base.SequenceBuilder):
    raise ReformerError(
      f'translation_inputs.dataset_name is {dataset_name!r}: give translation, '
      'or a data set of TFDS with pairs of texts, such as wmt14_translate/de-en'
    )
  if own:
    wanted = {'source': folders.absolute(source)} if source else {}
    files = {'source': 'FILE', 'target': 'FILE', **wanted}
    command = prepare_command(dataset_name, data_dir, files)
    info = find_info(dataset_name, data_dir, wanted, command)
    return tfds.builder_from_directory(info.data_dir)
  try:
    return read_only_builder.builder_from_files(
      dataset_name, data_dir=str(data_dir)
    )
  except tfds.core.DatasetNotFoundError as e:
    raise ReformerError(
      f'{dataset_name} is not prepared in {data_dir}: run '
      f'{prepare_command(dataset_name, data_dir, {})}'
    ) from e


def prepare_command(dataset_name, data_dir, parameters):
  """What prepares a data set, for a message to the user."""
  flags = {'data_dir': data_dir, **parameters}
  words = [f'--{name}={value}' for name, value in flags.items() if value]
  return ' '.join(['trax-reformer prepare', dataset_name, *words])


def description(info):
  """One line for the user: what a prepared data set is made of."""
  return info.metadata.get('description') if info.metadata else info.full_name


def text_features(info):
  """dict from the names of the features with text to their paths."""

  def find(features, path=()):
    for name, feature in features.items():
      if isinstance(feature, tfds.features.FeaturesDict):
        yield from find(feature, (*path, name))
      elif isinstance(feature, tfds.features.Text):
        yield name, (*path, name)

  if not isinstance(info.features, tfds.features.FeaturesDict):
    return {}
  return dict(find(info.features))


def _text(example, path):
  text = functools.reduce(lambda x, name: x[name], path, example)
  return text.decode() if isinstance(text, bytes) else str(np.asarray(text))

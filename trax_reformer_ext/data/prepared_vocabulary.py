"""Vocabularies beside the prepared data that they were trained on."""

import itertools
import json
import math
import pathlib
import tempfile

import gin
import numpy as np
from tqdm import tqdm

from trax_reformer_ext.data import writing
from trax_reformer_ext.data.vocabulary import (
  Vocabulary,
  model_name,
  train_model,
)
from trax_reformer_ext.errors import ReformerError

_FOLDER = 'vocabularies'
_LANGUAGES = 'languages.json'


class PreparedVocabulary:
  """A vocabulary, and how many tokens each pair of the data has with it.

  Attributes:
    name: str, made of the parameters of the training.
    languages: list of the two names of the features that it was trained on.
    vocabulary: Vocabulary.
  """

  def __init__(self, folder):
    """Loads it.

    Args:
      folder: pathlib.Path.

    Raises:
      ReformerError: a file is missing or damaged.
    """
    self.name, self._folder = folder.name, folder
    self.vocabulary = Vocabulary.load(folder / f'{folder.name}.model')
    self.languages = self._load(_LANGUAGES, lambda f: json.loads(f.read_text()))

  def lengths(self, split):
    """Tokens of each text, with the end: int32 [n_pairs, 2]."""
    return self._load(f'{split}.npy', np.load)

  def _load(self, name, load):
    try:
      return load(self._folder / name)
    except (OSError, ValueError, EOFError) as e:
      raise ReformerError(
        f'{self._folder / name} is missing or damaged: remove {self._folder} '
        'and run trax-reformer prepare again'
      ) from e


@gin.configurable(
  module='trax_reformer_ext', denylist=['folder', 'splits', 'languages']
)
def train_vocabulary(
  folder,
  splits,
  languages,
  vocab_size=8000,
  model_type='unigram',
  character_coverage=1.0,
  max_pairs=1_000_000,
):
  """Trains one vocabulary for both languages, unless it is there already.

  Writes the sentencepiece model, and how many tokens each pair has.

  Args:
    folder: pathlib.Path of the prepared data set.
    splits: dict from splits to Pairs; trains on 'train'.
    languages: (source, target), names of the features of the pairs.
    vocab_size: int, number of ids.
    model_type: 'unigram' or 'bpe'.
    character_coverage: float in [0.98, 1], the share of the characters that get
      pieces of their own; what has none becomes unknown.
    max_pairs: int, pairs to train on, evenly spaced among all.

  Returns:
    (PreparedVocabulary, bool whether it was there).

  Raises:
    ReformerError: a parameter that the data can't support, or a vocabulary of
      that name for other languages.
  """
  if type(max_pairs) is not int or max_pairs < 1:
    raise ReformerError(
      f'train_vocabulary.max_pairs is {max_pairs!r}: give an int of at least 1'
    )
  name = model_name(vocab_size, model_type, character_coverage)
  step = math.ceil(len(splits['train']) / max_pairs)
  if step > 1:
    name += f'_every{step}'
  final = folder / _FOLDER / name
  if final.exists():
    found = PreparedVocabulary(final)
    if sorted(found.languages) != sorted(languages):
      raise ReformerError(
        f'{final} is for {" and ".join(found.languages)}, not for '
        f'{" and ".join(languages)}: remove it to train it anew'
      )
    return found, True
  with (
    writing.alone(final),
    tempfile.TemporaryDirectory(
      prefix='incomplete.', suffix=f'_{name}', dir=final.parent
    ) as incomplete,
  ):
    incomplete = pathlib.Path(incomplete) / name
    incomplete.mkdir()
    model = train_model(
      _sentences(splits['train'], step),
      vocab_size,
      model_type,
      character_coverage,
    )
    (incomplete / f'{name}.model').write_bytes(model)
    (incomplete / _LANGUAGES).write_text(json.dumps(list(languages)))
    vocabulary = Vocabulary.load(incomplete / f'{name}.model')
    for split, pairs in splits.items():
      np.save(incomplete / f'{split}.npy', _lengths(vocabulary, split, pairs))
    incomplete.rename(final)
  return PreparedVocabulary(final), False


def find_vocabulary(folder, name, command):
  """Opens a vocabulary of a prepared data set.

  Args:
    folder: pathlib.Path of the data set.
    name: str, such as 'unigram8000'; None for the only one.
    command: str, what would prepare it.

  Returns:
    PreparedVocabulary.

  Raises:
    ReformerError: there is none of that name, or several would do.
  """
  found = sorted(
    path.name
    for path in (folder / _FOLDER).glob('*/')
    if not path.name.startswith('incomplete.')
  )
  if not found:
    raise ReformerError(f'{folder} has no vocabulary: run {command}')
  if name is None and len(found) == 1:
    (name,) = found
  if name not in found:
    raise ReformerError(
      f'translation_inputs.vocabulary is {name!r}: give one of '
      f'{", ".join(found)}, which are prepared in {folder}'
    )
  return PreparedVocabulary(folder / _FOLDER / name)


def _sentences(pairs, step):
  """Yields the texts of every step-th pair."""
  numbers = range(0, len(pairs), step)
  with tqdm(total=len(numbers), desc='sentences', disable=None) as bar:
    for chunk in _chunks(numbers):
      texts = itertools.chain.from_iterable(pairs.read(chunk))
      yield from (text for text in texts if text.strip())
      bar.update(len(chunk))


def _lengths(vocabulary, split, pairs):
  lengths = np.zeros((len(pairs), 2), np.int32)
  with tqdm(total=len(pairs), desc=split, disable=None) as bar:
    for chunk in _chunks(range(len(pairs))):
      texts = itertools.chain.from_iterable(pairs.read(chunk))
      sizes = [len(ids) for ids in vocabulary.encode(texts)]
      lengths[chunk] = np.reshape(sizes, (-1, 2))
      bar.update(len(chunk))
  return lengths


def _chunks(numbers, size=4096):
  return (numbers[i : i + size] for i in range(0, len(numbers), size))

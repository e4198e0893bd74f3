"""Vocabularies of sentencepiece: pad 0, end 1, unknown 2."""

import io
import re

import numpy as np
import sentencepiece as spm

from trax_reformer_ext.errors import ReformerError

PAD, END, UNKNOWN = 0, 1, 2
MODEL_TYPES = ('unigram', 'bpe')


class Vocabulary:
  """Turns texts into ids and back.

  Attributes:
    path: str, of the sentencepiece model.
    size: int, number of ids.
  """

  def __init__(self, path, processor):
    """Takes what load() has loaded."""
    self.path, self._processor = path, processor
    self.size = processor.get_piece_size()

  @classmethod
  def load(cls, path):
    """Loads a sentencepiece model.

    Args:
      path: str.

    Returns:
      Vocabulary.

    Raises:
      ReformerError: the file is missing or damaged, or its pad, end and unknown
        are not 0, 1 and 2.
    """
    return cls(str(path), load_processor(path))

  def encode(self, texts):
    """Ids of texts: a list of lists of int, each ending in 1.

    Args:
      texts: list of str.
    """
    return self._processor.encode(list(texts), add_eos=True)

  def decode(self, ids):
    """The text of ids: a str.

    Args:
      ids: ints [length]; what follows the first 1 is left out, and so is 0.
    """
    ids = np.asarray(ids, np.int64).tolist()
    if END in ids:
      ids = ids[: ids.index(END)]
    return self._processor.decode([i for i in ids if i != PAD])


_AGAIN = 'remove its directory and run trax-reformer prepare again'


def load_processor(path):
  """Loads a sentencepiece model whose pad, end and unknown are 0, 1 and 2.

  Args:
    path: str.

  Returns:
    sentencepiece.SentencePieceProcessor.

  Raises:
    ReformerError: as Vocabulary.load.
  """
  processor = spm.SentencePieceProcessor()
  try:
    with open(path, 'rb') as f:
      processor.LoadFromSerializedProto(f.read())
  except OSError as e:
    raise ReformerError(
      f'vocabulary {path} cannot be read ({e.strerror})'
    ) from e
  except RuntimeError as e:
    raise ReformerError(
      f'vocabulary {path} is damaged or no sentencepiece model: {_AGAIN}'
    ) from e
  ids = processor.pad_id(), processor.eos_id(), processor.unk_id()
  if ids != (PAD, END, UNKNOWN):
    raise ReformerError(
      f'vocabulary {path} has the ids {ids} for pad, end and unknown, not '
      f'{(PAD, END, UNKNOWN)}: {_AGAIN}'
    )
  return processor


def model_name(vocab_size, model_type, character_coverage):
  """What a model with these parameters is called, such as 'unigram8000'."""
  name = f'{model_type}{vocab_size}'
  if character_coverage != 1:
    name += f'_coverage{character_coverage}'
  return name


def train_model(
  sentences,
  vocab_size,
  model_type,
  character_coverage,
  name='train_vocabulary',
  **options,
):
  """Trains a sentencepiece model; the same sentences give the same bytes.

  Args:
    sentences: iterator over str.
    vocab_size: int.
    model_type: 'unigram' or 'bpe'.
    character_coverage: float in [0.98, 1], the share of the characters that get
      pieces of their own.
    name: str, of the configurable that the parameters are of.
    **options: further ones of sentencepiece.

  Returns:
    bytes of the .model file.

  Raises:
    ReformerError: a parameter that the sentences can't support.
  """
  check_parameters(vocab_size, model_type, character_coverage, name)
  model = io.BytesIO()
  try:
    spm.SentencePieceTrainer.train(
      sentence_iterator=iter(sentences),
      model_writer=model,
      vocab_size=vocab_size,
      model_type=model_type,
      character_coverage=character_coverage,
      pad_id=PAD,
      eos_id=END,
      unk_id=UNKNOWN,
      bos_id=-1,
      # Sums depend on their number, and so does the model.
      num_threads=16,
      minloglevel=2,
      **options,
    )
  except RuntimeError as e:
    raise ReformerError(_explain(e, f'{name}.vocab_size', vocab_size)) from e
  return model.getvalue()


def check_parameters(vocab_size, model_type, character_coverage, name):
  """Refuses parameters of train_model that no sentences can support.

  Raises:
    ReformerError: by the name of the parameter.
  """
  if type(vocab_size) is not int or vocab_size < 4:
    raise ReformerError(
      f'{name}.vocab_size is {vocab_size!r}: give an int of at least 4'
    )
  if model_type not in MODEL_TYPES:
    raise ReformerError(
      f'{name}.model_type is {model_type!r}: give one of '
      f'{", ".join(MODEL_TYPES)}'
    )
  number = isinstance(character_coverage, (int, float))
  if not (number and 0.98 <= character_coverage <= 1):
    raise ReformerError(
      f'{name}.character_coverage is {character_coverage!r}: give a number '
      'from 0.98 to 1'
    )


def _explain(e, name, value):
  if largest := re.search(r'set it to a value <= (\d+)', str(e)):
    return (
      f'{name} is {value}, more than the sentences have pieces: give at most '
      f'{largest[1]}, or more data'
    )
  if characters := re.search(r'required_chars\. \d+ vs (\d+)', str(e)):
    return (
      f'{name} is {value}, less than the sentences have characters: give at '
      f'least {characters[1]}, or a smaller character_coverage'
    )
  if 'sentences_.empty()' in str(e) or 'all_chars_count' in str(e):
    return f'{name} is {value}, but there are no sentences: give others'
  return f'{name} is {value}: sentencepiece failed ({" ".join(str(e).split())})'

"""Vocabularies that give a text back as it was, for language models."""

import itertools
import math
import re

import numpy as np

from trax_reformer_ext.data.vocabulary import (
  UNKNOWN,
  load_processor,
  train_model,
)

MODEL = 'vocabulary.model'
# What sentencepiece keeps for itself (NUL, its space and its mark of a rare
# character) has pieces as code points that Unicode keeps out of texts; those
# become unknown, as NUL would.
_KEPT, _INSTEAD = '\0▁▅', '\ufdd0\ufdd1\ufdd2'
_ENCODED = str.maketrans(_KEPT + _INSTEAD, _INSTEAD + '\0\0\0')
_DECODED = str.maketrans(_INSTEAD, _KEPT)
_SPACE = '▁'
# Symbols of their own: sentencepiece has no pieces with a tab, and none here go
# beyond a line.
_SYMBOLS = ['\n', '\t']
# Lines, with their ends; sentencepiece does not learn from those that are much
# longer than this.
_PARTS = re.compile(r'.{1,1000}\n?|\n')
_CHUNK = 4096


class TextVocabulary:
  """Turns a text into ids and back, with every space and every line end.

  An id stands for the same characters wherever it is, so that texts can be
  decoded in pieces.

  Attributes:
    path: str, of the sentencepiece model.
    size: int, number of ids.
  """

  def __init__(self, path):
    """Loads a model that train_text_model has made.

    Args:
      path: str.

    Raises:
      ReformerError: the file is missing or damaged.
    """
    self.path, self._processor = str(path), load_processor(path)
    self.size = self._processor.get_piece_size()
    self._texts = [self._text(i) for i in range(self.size)]

  def encode(self, text):
    """The ids of a text: int32 [n_tokens].

    Args:
      text: str; what has no piece becomes unknown.
    """
    parts = _parts(text)
    chunks = iter(lambda: list(itertools.islice(parts, _CHUNK)), [])
    encoded = (self._processor.encode(chunk) for chunk in chunks)
    flatten = itertools.chain.from_iterable
    return np.fromiter(flatten(flatten(encoded)), np.int32)

  def decode(self, ids):
    """The text of ids: a str.

    Args:
      ids: ints [n_tokens]; what is unknown is replaced, and what stands for no
        text is left out.
    """
    ids = np.asarray(ids, np.int64).tolist()
    return ''.join(self._texts[i] for i in ids if 0 <= i < self.size)

  def _text(self, i):
    """What an id stands for."""
    if i == UNKNOWN:
      return '\ufffd'
    if self._processor.is_control(i):
      return ''
    piece = self._processor.id_to_piece(i)
    return piece.replace(_SPACE, ' ').translate(_DECODED)


def train_text_model(
  text, characters, vocab_size, model_type, character_coverage, max_bytes, name
):
  """Trains a sentencepiece model for a TextVocabulary.

  Args:
    text: str, to learn pieces from.
    characters: set of str, which all get pieces if character_coverage is 1.
    vocab_size: int, as of train_model.
    model_type: str, as of train_model.
    character_coverage: float, as of train_model.
    max_bytes: int, learn from as many bytes at most, in lines evenly spaced.
    name: str, as of train_model.

  Returns:
    bytes of the .model file.

  Raises:
    ReformerError: a parameter that the text can't support.
  """
  step = math.ceil(len(text.encode()) / max_bytes)
  sentences = itertools.islice(_parts(text), 0, None, max(step, 1))
  if character_coverage == 1:
    # sentencepiece's own required_chars does nothing where there is no space.
    every = ''.join(sorted(characters - {*_SYMBOLS}))
    sentences = itertools.chain(_parts(every), sentences)
  return train_model(
    sentences,
    vocab_size,
    model_type,
    character_coverage,
    name,
    user_defined_symbols=_SYMBOLS,
    normalization_rule_name='identity',
    add_dummy_prefix=False,
    remove_extra_whitespaces=False,
    allow_whitespace_only_pieces=True,
  )


def _parts(text):
  """Yields a text in parts, of a line each or, of a long one, of a part."""
  for match in _PARTS.finditer(text):
    yield match[0].translate(_ENCODED)

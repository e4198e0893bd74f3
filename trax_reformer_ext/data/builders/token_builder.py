"""Builders of byte sequences."""

import abc
import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np

from trax_reformer_ext.data import tokens
from trax_reformer_ext.data.builders import base
from trax_reformer_ext.errors import ReformerError


class Source(NamedTuple):
  """Bytes that are read in pieces.

  Attributes:
    description: str, one line for the user.
    n_bytes: int.
    read: function of (start, stop) that returns those bytes.
  """

  description: str
  n_bytes: int
  read: Any


@dataclasses.dataclass(eq=False)
class BytesConfig(base.ParametersConfig):
  """Parameters of byte sequences.

  Attributes:
    length: int, bytes in a sequence.
  """

  length: int = 65536

  def __post_init__(self):
    if not isinstance(self.length, int) or self.length < 1:
      raise ReformerError(
        f'length is {self.length!r}: give an int of at least 1'
      )


class TokenBuilder(base.SequenceBuilder, skip_registration=True):
  """Bytes as ids: byte + 2; 0 is padding, 1 the (unused) end.

  The splits are 90/5/5 % of the bytes, in their order. The last sequence of a
  split is padded with 0.
  """

  CONFIG = BytesConfig
  VOCAB_SIZE = tokens.VOCAB_SIZE

  @abc.abstractmethod
  def _source(self, dl_manager):
    """Returns the Source."""

  def _sequence_length(self):
    return self.builder_config.length

  def _split_generators(self, dl_manager):
    source = self._source(dl_manager)
    self._describe(source.description)
    borders = base.split_borders(source.n_bytes, source.description)
    return {
      split: self._generate_examples(split, source, *border)
      for split, border in borders.items()
    }

  def _generate_examples(self, split, source, start, stop):
    self.info.metadata['n_tokens'][split] = stop - start

    def read(first, last):
      data = source.read(start + first, start + last)
      return tokens.encode(np.frombuffer(data, np.uint8))

    yield from examples(stop - start, self.builder_config.length, read)


def examples(n_tokens, length, read):
  """Yields the examples of a split with their keys, the last one padded.

  Args:
    n_tokens: int, in the split.
    length: int, of an example.
    read: function of (start, stop) that returns those ids, int32.
  """
  n = math.ceil(n_tokens / length)
  for i in range(n):
    start = i * length
    ids = read(start, min(start + length, n_tokens))
    ids = np.pad(ids, (0, length - len(ids)))
    yield base.ordered_key(i, n), {'inputs': ids}

"""Sequences of tokens: anything with len() and read(start, n)."""

import numpy as np

# Token ids of bytes start here: 0 is padding, 1 the (unused) end.
FIRST_BYTE = 2
VOCAB_SIZE = 256 + FIRST_BYTE


def split_borders(n):
  """Splits n things 90/5/5, in their order.

  Args:
    n: int, how many.

  Returns:
    dict from 'train', 'validation' and 'test' to (start, stop).
  """
  first, second = n * 90 // 100, n * 95 // 100
  return {
    'train': (0, first),
    'validation': (first, second),
    'test': (second, n),
  }


def encode(data):
  """Token ids of bytes: int32, byte + 2."""
  return np.asarray(data, np.int32) + FIRST_BYTE


def to_bytes(ids):
  """The bytes of token ids, uint8; ids that stand for no byte are left out."""
  ids = np.asarray(ids)
  ids = ids[(ids >= FIRST_BYTE) & (ids < VOCAB_SIZE)] - FIRST_BYTE
  return ids.astype(np.uint8)


def decode(ids):
  """The text of token ids; what is no byte or no UTF-8 is replaced."""
  return to_bytes(ids).tobytes().decode('utf-8', errors='replace')


class ByteTokens:
  """Bytes in memory, uint8 [n_bytes], as tokens."""

  def __init__(self, data):
    self._data = data

  def __len__(self):
    return len(self._data)

  def read(self, start, n):
    """Ids int32 [n] of the bytes from start on."""
    return encode(self._data[start : start + n])

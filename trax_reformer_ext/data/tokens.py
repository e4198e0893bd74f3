"""Sequences of tokens: anything with len() and read(start, n)."""

import numpy as np

# Token ids of bytes start here: 0 is padding, 1 the (unused) end.
FIRST_BYTE = 2
VOCAB_SIZE = 256 + FIRST_BYTE
HELD_OUT = ('validation', 'test')


def split_borders(n, held_out=HELD_OUT):
  """Splits n things in their order: 5 % for each held-out split, at the end.

  Args:
    n: int, how many.
    held_out: tuple of str, those splits.

  Returns:
    dict from 'train' and those of held_out to (start, stop).
  """
  borders = [n * (100 - 5 * i) // 100 for i in range(len(held_out), -1, -1)]
  names = ('train', *held_out)
  return dict(
    zip(names, zip([0, *borders], borders, strict=False), strict=True)
  )


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


class Tops:
  """The first tokens of every record of others, as tokens."""

  def __init__(self, tokens, whole, kept):
    """Cuts every record.

    Args:
      tokens: records of whole tokens each, one after another.
      whole: int.
      kept: int, tokens to keep of each, at most whole.
    """
    self._tokens, self._whole, self._kept = tokens, whole, kept

  def __len__(self):
    return len(self._tokens) // self._whole * self._kept

  def read(self, start, n):
    """Ids int32 [n] from start on."""
    pieces, end = [], min(start + n, len(self))
    while start < end:
      record, place = divmod(start, self._kept)
      some = min(end - start, self._kept - place)
      pieces.append(self._tokens.read(record * self._whole + place, some))
      start += some
    return np.concatenate(pieces or [np.zeros(0, np.int32)])

"""Batches of bytes for a language model."""

import functools
import itertools

import gin
import numpy as np
from trax.data import inputs as trax_inputs

from trax_reformer_ext.data.sources import load_text
from trax_reformer_ext.errors import ReformerError

# Token ids of bytes start here: 0 is padding, 1 the (unused) end.
FIRST_BYTE = 2
VOCAB_SIZE = 256 + FIRST_BYTE


@gin.configurable(module='trax_reformer_ext')
def text_inputs(
  dataset_name='python_stdlib',
  data_dir=None,
  length=512,
  batch_size=8,
  eval_batch_size=8,
  seed=0,
):
  """Returns batches of byte windows, for train.inputs.

  A batch is (inputs, targets, weights): the same token ids twice, int32
  [batch, length], byte + 2 (0 is padding; 258 ids), and weights float32 of
  the same shape, 0 at padding. Training windows lie at random places, the
  n-th batch is a function of seed and n alone; evaluation goes through whole
  windows of the validation bytes in a fixed order, again and again.

  Args:
    dataset_name: 'python_stdlib' or 'enwik8'.
    data_dir: str, where enwik8 lies; None for $REFORMER_DATA or TFDS's folder
      of manual downloads.
    length: int, bytes in a window.
    batch_size: int, windows in a training batch.
    eval_batch_size: int, windows in an evaluation batch.
    seed: int, of the training windows.

  Returns:
    TextInputs.

  Raises:
    ReformerError: data that is missing or too short, or sizes below 1.
  """
  for name, value in (
    ('length', length),
    ('batch_size', batch_size),
    ('eval_batch_size', eval_batch_size),
  ):
    if not isinstance(value, int) or value < 1:
      raise ReformerError(
        f'text_inputs.{name} is {value!r}: give an int of at least 1'
      )
  text = _load(dataset_name, data_dir)
  shortest = min(len(x) for x in text.splits.values())
  if length > shortest:
    raise ReformerError(
      f'text_inputs.length is {length}, but the shortest split of '
      f'{dataset_name} has {shortest} bytes: use a smaller length or more data'
    )
  train = text.splits['train']
  validation = text.splits['validation']
  return TextInputs(
    text,
    length,
    eval_batch_size,
    train_stream=lambda _: random_windows(train, length, batch_size, seed),
    eval_stream=lambda _: _endless(validation, length, eval_batch_size),
  )


class TextInputs(trax_inputs.Inputs):
  """Trax's Inputs that know their text."""

  def __init__(self, text, length, eval_batch_size, **streams):
    super().__init__(**streams)
    self.text = text
    self._length, self._eval_batch_size = length, eval_batch_size

  def split_batches(self, split):
    """Yields a whole split once, in order; the last batch is padded.

    Args:
      split: 'train', 'validation' or 'test'.

    Raises:
      ReformerError: another split.
    """
    if split not in self.text.splits:
      raise ReformerError(
        f'split is {split!r}: give one of {", ".join(self.text.splits)}'
      )
    data = self.text.splits[split]
    return windows_in_order(data, self._length, self._eval_batch_size)


def random_windows(data, length, batch_size, seed, first=0):
  """Yields training batches without end; the n-th depends on n alone.

  Args:
    data: uint8 [n_bytes], at least length.
    length: int, bytes in a window.
    batch_size: int.
    seed: int.
    first: int, number of the first batch.

  Yields:
    (inputs, targets, weights), as text_inputs says.
  """
  offsets = np.arange(length)
  for n in itertools.count(first):
    rng = np.random.default_rng((seed, n))
    starts = rng.integers(0, len(data) - length + 1, batch_size)
    yield _batch(encode(data[starts[:, None] + offsets]))


def windows_in_order(data, length, batch_size):
  """Yields every byte once, in windows; what is missing at the end is padded.

  Args:
    data: uint8 [n_bytes].
    length: int, bytes in a window.
    batch_size: int, windows in a batch.

  Yields:
    (inputs, targets, weights), all [batch_size, length].
  """
  per_batch = length * batch_size
  for start in range(0, len(data), per_batch):
    ids = encode(data[start : start + per_batch])
    ids = np.pad(ids, (0, per_batch - len(ids)))
    yield _batch(ids.reshape(batch_size, length))


def encode(data):
  """Token ids of bytes: int32, byte + 2."""
  return np.asarray(data, np.int32) + FIRST_BYTE


def decode(ids):
  """The text of token ids; what is no byte or no UTF-8 is replaced."""
  ids = np.asarray(ids)
  ids = ids[(ids >= FIRST_BYTE) & (ids < VOCAB_SIZE)] - FIRST_BYTE
  return ids.astype(np.uint8).tobytes().decode('utf-8', errors='replace')


@functools.lru_cache(maxsize=2)
def _load(dataset_name, data_dir):
  text = load_text(dataset_name, data_dir)
  print(f'Data: {text.description}')
  return text


def _endless(data, length, batch_size):
  # In a fixed random order, so that few batches stand for the whole split.
  order = np.random.default_rng(0).permutation(len(data) // length)
  starts = itertools.cycle((order * length).tolist())
  while True:
    batch = [next(starts) for _ in range(batch_size)]
    yield _batch(encode(np.stack([data[s : s + length] for s in batch])))


def _batch(ids):
  return ids, ids, (ids != 0).astype(np.float32)

"""The synthetic duplication task: 0w0w, where the second w is a copy."""

import gin
import numpy as np

from trax_reformer_ext.data.inputs import TokenInputs, check_sizes
from trax_reformer_ext.data.streams import hash64, mix64
from trax_reformer_ext.errors import ReformerError

_SPLITS = ('train', 'validation', 'test')
# More than any training reads.
_N_TRAIN_EXAMPLES = 2**32


@gin.configurable(module='trax_reformer_ext')
def duplication_inputs(
  length=1024,
  n_symbols=127,
  batch_size=8,
  eval_batch_size=8,
  n_eval_examples=256,
  seed=0,
  host_id=0,
  n_hosts=1,
  prefetch=2,
):
  """Returns batches of the duplication task (section 5), for train.inputs.

  An example is 0w0w with w drawn from {1, ..., n_symbols}^(length / 2 - 1); a
  model that attends exactly reaches accuracy 1 on the second w, the only
  tokens whose weight is not 0. A batch is (inputs, targets, weights): the same
  ids twice, int32 [batch, length], and float32 of the same shape. Examples are
  a function of seed, split and number alone.

  Args:
    length: int, tokens in an example; even, at least 4.
    n_symbols: int, size of the alphabet; ids are 0 to n_symbols.
    batch_size: int, examples in a training batch of all hosts.
    eval_batch_size: int, examples in an evaluation batch.
    n_eval_examples: int, examples in a split that is evaluated; training
      never ends, and its split 'train' is the first of its examples.
    seed: int, of the examples; each split has its own.
    host_id: int, this host.
    n_hosts: int; each trains on its own rows of a batch.
    prefetch: int, batches made ahead of time by a thread; 0 for none.

  Returns:
    TokenInputs.

  Raises:
    ReformerError: an odd length, or sizes below 1.
  """
  hosts = dict(host_id=host_id, n_hosts=n_hosts, prefetch=prefetch)
  check_sizes(
    'duplication_inputs',
    length=length,
    n_symbols=n_symbols,
    batch_size=batch_size,
    eval_batch_size=eval_batch_size,
    n_eval_examples=n_eval_examples,
    **hosts,
  )
  if length % 2 or length < 4:
    raise ReformerError(
      f'duplication_inputs.length is {length}: give an even int of at least 4'
    )
  make = lambda split, n: DuplicationTokens(
    length, n_symbols, n, hash64(seed, _SPLITS.index(split))
  )
  return TokenInputs(
    {split: make(split, n_eval_examples) for split in _SPLITS},
    length,
    batch_size,
    eval_batch_size,
    seed=seed,
    train=make('train', _N_TRAIN_EXAMPLES),
    mask=(np.arange(length) > length // 2).astype(np.float32),
    **hosts,
  )


class DuplicationTokens:
  """Examples of the task, one after the other, as tokens; none is stored."""

  def __init__(self, length, n_symbols, n_examples, key):
    self._half, self._n_symbols = length // 2, n_symbols
    self._n_tokens, self._key = n_examples * length, key

  def __len__(self):
    return self._n_tokens

  def read(self, start, n):
    """Ids int32 [n] from start on."""
    positions = np.arange(start, start + n, dtype=np.uint64)
    half, i = np.divmod(positions, np.uint64(self._half))
    # Both halves of an example draw the same numbers.
    symbol = (half // np.uint64(2)) * np.uint64(self._half) + i
    drawn = mix64(mix64(symbol) ^ np.uint64(self._key)) % self._n_symbols + 1
    return np.where(i == 0, 0, drawn).astype(np.int32)

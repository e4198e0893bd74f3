"""Trax's Inputs over sequences of tokens."""

import numpy as np
from trax.data import inputs as trax_inputs

from trax_reformer_ext.data import streams
from trax_reformer_ext.errors import ReformerError


class SeekableInputs(trax_inputs.Inputs):
  """Trax's Inputs that know their splits and can start at any batch.

  Attributes:
    splits: dict from 'train', 'validation' and 'test' to their data.
  """

  def __init__(self, splits, train, evaluation):
    """Sets the streams up.

    Args:
      splits: as the attribute.
      train: function from the number of the first batch to a generator.
      evaluation: the same for batches of evaluation.
    """
    self.splits, self._train = splits, train
    super().__init__(
      lambda _: self.train_batches(), lambda _: SeekableBatches(evaluation)
    )

  def train_batches(self, first=0):
    """Training batches without end, as a SeekableBatches.

    Args:
      first: int, number of the first batch.
    """
    return SeekableBatches(self._train, first)

  def of_split(self, split):
    """The data of a split.

    Raises:
      ReformerError: there is no such split.
    """
    if split not in self.splits:
      raise ReformerError(
        f'split is {split!r}: give one of {", ".join(self.splits)}'
      )
    return self.splits[split]


class TokenInputs(SeekableInputs):
  """SeekableInputs over sequences of tokens.

  A batch is (inputs, targets, weights): the same token ids twice, int32
  [batch, length], in evaluation [batch, eval_length], and weights float32 of
  the same shape. Tokens are anything with len() and read(start, n), as
  data/streams.py has it.

  Attributes:
    splits: dict from 'train', 'validation' and 'test' to tokens.
  """

  def __init__(
    self,
    splits,
    length,
    batch_size,
    eval_batch_size,
    seed=0,
    host_id=0,
    n_hosts=1,
    prefetch=0,
    random_offsets=False,
    train=None,
    mask=None,
    eval_length=None,
  ):
    """Sets the streams up.

    Args:
      splits: as the attribute.
      length: int, tokens in a row.
      batch_size: int, rows in a training batch of all hosts.
      eval_batch_size: int, rows in an evaluation batch.
      seed: int, of the training batches.
      host_id: int, this host.
      n_hosts: int; each trains on its own rows. Evaluation is the same on all.
      prefetch: int, batches made ahead of time by a thread; 0 for none.
      random_offsets: bool, whether training windows start anywhere; or else at
        multiples of length.
      train: tokens to train on; None for splits['train'].
      mask: float32 [length], factors of the weights; None for ones.
      eval_length: int, tokens in a row of evaluation; None for length.
    """
    self._eval_length = eval_length or length
    self._eval_batch_size = eval_batch_size
    self._mask = mask
    train = splits['train'] if train is None else train
    windows = streams.Windows(train, length, seed if random_offsets else None)
    training = lambda first: streams.prefetch(
      self._weighted(
        streams.shuffled(windows, batch_size, seed, first, host_id, n_hosts)
      ),
      prefetch,
    )
    # In a fixed random order, so that few batches stand for the whole split.
    held_out = streams.Windows(splits['validation'], self._eval_length)
    evaluation = lambda first: self._weighted(
      streams.shuffled(
        held_out, eval_batch_size, seed=0, first=first, reshuffle=False
      )
    )
    super().__init__(splits, training, evaluation)

  def split_batches(self, split):
    """Yields a whole split once, in order; the last batch is padded.

    Args:
      split: 'train', 'validation' or 'test'.

    Raises:
      ReformerError: another split.
    """
    batches = streams.in_order(
      self.of_split(split), self._eval_length, self._eval_batch_size
    )
    return (self._masked(ids, weights) for ids, weights in batches)

  def _weighted(self, batches):
    for ids in batches:
      yield self._masked(ids, np.ones(ids.shape, np.float32))

  def _masked(self, ids, weights):
    if self._mask is not None:
      weights = weights * self._mask
    return ids, ids, weights


class SeekableBatches:
  """An iterator over batches that can be set to any batch by its number."""

  def __init__(self, make, first=0):
    """Starts at a batch; nothing is read before the first next().

    Args:
      make: function from the number of the first batch to a generator.
      first: int.
    """
    self._make, self._batches = make, make(first)

  def __iter__(self):
    return self

  def __next__(self):
    return next(self._batches)

  def seek(self, number):
    """Makes this batch the next one; those before it are not read."""
    self._batches.close()
    self._batches = self._make(number)

  def close(self):
    """Ends the iteration, and the thread that makes batches ahead of time."""
    self._batches.close()


def check_sizes(caller, host_id=0, n_hosts=1, prefetch=0, **sizes):
  """Refuses what can't be a size.

  Args:
    caller: str, name of the configurable.
    host_id: int in [0, n_hosts).
    n_hosts: int, at least 1; divides sizes['batch_size'] where it is given.
    prefetch: int, at least 0.
    **sizes: ints of at least 1.

  Raises:
    ReformerError: by the name of the parameter.
  """
  for name, value in dict(sizes, n_hosts=n_hosts).items():
    _check_int(f'{caller}.{name}', value, 1)
  _check_int(f'{caller}.host_id', host_id, 0)
  _check_int(f'{caller}.prefetch', prefetch, 0)
  if host_id >= n_hosts:
    raise ReformerError(
      f'{caller}.host_id is {host_id}, with n_hosts {n_hosts}: give an int in '
      f'[0, {n_hosts})'
    )
  if sizes.get('batch_size', 0) % n_hosts:
    raise ReformerError(
      f'{caller}.batch_size is {sizes["batch_size"]}, over n_hosts {n_hosts}: '
      f'give a multiple of {n_hosts}'
    )


def check_length(parameter, dataset_name, length, splits):
  """Refuses rows that are longer than a split.

  Args:
    parameter: str, name of the length.
    dataset_name: str.
    length: int, tokens in a row.
    splits: dict from names to tokens.

  Raises:
    ReformerError: names the shortest split.
  """
  name = min(splits, key=lambda split: len(splits[split]))
  if length > len(splits[name]):
    raise ReformerError(
      f'{parameter} is {length}, but the split {name} of {dataset_name} '
      f'has {len(splits[name])} tokens: use a smaller length or more data'
    )


def _check_int(name, value, least):
  if type(value) is not int or value < least:
    raise ReformerError(f'{name} is {value!r}: give an int of at least {least}')

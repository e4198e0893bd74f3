"""Batches of token ids as functions of a seed and of their number alone.

The n-th batch of a stream needs nothing of those before it, so a run goes on
at any batch without reading what was consumed. Random numbers come from an
integer hash and not from numpy's generators, whose streams may change between
versions: the same seed gives the same bytes everywhere.

Tokens are anything with len() and read(start, n), which returns ids int32 [n].
"""

import functools
import itertools
import math
import queue
import threading
import time

import numpy as np

_MASK = 2**64 - 1
_ROUNDS = 6
_PATIENCE = 1.0  # seconds that a closed stream waits for its thread


def mix64(x):
  """splitmix64, a bijection of 64-bit integers, of an int or uint64 array."""
  x = (x + 0x9E3779B97F4A7C15) & _MASK
  x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
  x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
  return x ^ (x >> 31)


def hash64(*values):
  """One 64-bit integer for a tuple of ints."""
  return functools.reduce(lambda h, v: mix64(h ^ (v & _MASK)), values, 0)


class Permutation:
  """A pseudo-random order of range(n), in the same small memory for every n.

  A Feistel network over the two digits of i in base ceil(sqrt(n)), which is a
  bijection of [0, base^2), walked until it comes back to [0, n).
  """

  def __init__(self, n, *key):
    """Chooses the order.

    Args:
      n: int, at least 1.
      *key: ints that determine the order.
    """
    self._n = n
    self._base = math.isqrt(n - 1) + 1
    self._keys = [hash64(*key, r) for r in range(_ROUNDS)]

  def __len__(self):
    return self._n

  def __getitem__(self, i):
    if not 0 <= i < self._n:
      raise IndexError(i)
    while True:
      left, right = divmod(i, self._base)
      for key in self._keys:
        left, right = right, (left + mix64(right ^ key)) % self._base
      i = left * self._base + right
      if i < self._n:
        return i


class Windows:
  """Windows of a sequence of tokens, one beside the other.

  With a seed they start at a random offset in every epoch, from 0 to
  length - 1 if there are tokens enough; less than a window at the start and
  less than two at the end are then left out, others each time. Without one
  they start at 0: examples of this length, or windows for evaluation.
  """

  def __init__(self, tokens, length, seed=None):
    """Counts the windows; every epoch has as many.

    Args:
      tokens: len() and read(start, n), at least length of them.
      length: int, tokens in a window.
      seed: int, of the offsets; None for none.
    """
    self._tokens, self.length, self._seed = tokens, length, seed
    n_tokens = len(tokens)
    self._n = n_tokens // length
    if seed is not None:
      self._n = max(1, (n_tokens + 1) // length - 1)
    self._n_offsets = min(length, n_tokens - self._n * length + 1)

  def __len__(self):
    return self._n

  def offset(self, epoch):
    """Where the first window of an epoch starts."""
    if self._seed is None:
      return 0
    return hash64(self._seed, epoch) % self._n_offsets

  def read(self, epoch, i):
    """The i-th window of an epoch, int32 [length]."""
    return self._tokens.read(self.offset(epoch) + i * self.length, self.length)


def shuffled(
  windows,
  batch_size,
  seed,
  first=0,
  host_id=0,
  n_hosts=1,
  reshuffle=True,
):
  """Yields batches of windows without end, each window once an epoch.

  An epoch that ends within a batch is followed by the next one in that batch.

  Args:
    windows: Windows.
    batch_size: int, windows in a batch of all hosts; a multiple of n_hosts.
    seed: int, of the order.
    first: int, number of the first batch.
    host_id: int in [0, n_hosts), this host.
    n_hosts: int; each yields its own rows of the same batches.
    reshuffle: bool, give every epoch its own order, not all that of the first.

  Yields:
    int32 [batch_size / n_hosts, length].
  """
  order = functools.lru_cache(maxsize=2)(
    lambda epoch: Permutation(len(windows), seed, epoch)
  )

  def row(number):
    epoch, i = divmod(number, len(windows))
    return windows.read(epoch, order(epoch if reshuffle else 0)[i])

  n_rows = batch_size // n_hosts
  for batch in itertools.count(first):
    start = batch * batch_size + host_id * n_rows
    yield np.stack([row(start + i) for i in range(n_rows)])


def in_order(tokens, length, batch_size):
  """Yields every token once, in order; what is missing at the end is padded.

  Args:
    tokens: len() and read(start, n).
    length: int, tokens in a row.
    batch_size: int, rows in a batch.

  Yields:
    (ids int32, weights float32), both [batch_size, length]; padding has the id
    0 and the weight 0.
  """
  per_batch = length * batch_size
  for start in range(0, len(tokens), per_batch):
    n = min(per_batch, len(tokens) - start)
    ids = np.zeros(per_batch, np.int32)
    ids[:n] = tokens.read(start, n)
    weights = (np.arange(per_batch) < n).astype(np.float32)
    yield ids.reshape(batch_size, length), weights.reshape(batch_size, length)


def prefetch(batches, size):
  """Yields what a generator yields, made ahead of time on another thread.

  The thread ends with the generator that this returns: when it is closed or
  forgotten. An exception in the thread is raised here, at its place.

  Args:
    batches: generator.
    size: int, batches to have ready; 0 for no thread.
  """
  if size == 0:
    yield from batches
    return
  ready = queue.Queue(size)
  stop = threading.Event()

  def work():
    last = None
    try:
      for batch in batches:
        ready.put((batch, True))
        if stop.is_set():
          return
    except BaseException as e:
      last = e
    finally:
      batches.close()
    if not stop.is_set():
      ready.put((last, False))

  thread = threading.Thread(target=work, name='prefetch', daemon=True)
  thread.start()
  try:
    while True:
      item, more = ready.get()
      if more:
        yield item
      elif item is None:
        return
      else:
        raise item
  finally:
    stop.set()
    # Room for whatever the thread is about to put. Not waited for without end:
    # the garbage collector may run this where a lock is held that it needs.
    deadline = time.monotonic() + _PATIENCE
    while thread.is_alive() and time.monotonic() < deadline:
      try:
        ready.get(timeout=0.01)
      except queue.Empty:
        pass

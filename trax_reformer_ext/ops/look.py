"""Who sees whom in chunked attention, and the views of the data for it."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trax_reformer_ext.ops.chunks import add_adjacent, look_adjacent

# The position of a key that nothing may attend to.
MASKED = np.int32(2**31 - 1)


class Look(NamedTuple):
  """Who may see whom: the static part of the computation.

  Attributes:
    chunk_len: int, tokens in a chunk.
    n_chunks_before: int, chunks before its own that a query sees.
    n_chunks_after: int, chunks after its own.
    causal: bool, keys at later positions are hidden.
    shared_qk: bool, keys are the length-normalised queries, and a token sees
      itself only where nothing else is allowed.
    ring: bool, the chunks of all rounds form one ring; otherwise the look
      ends at the edges of each round.
    intervals: bool, a query sees only keys whose rank lies in an interval of
      its own, in each round.
    count_once: bool, with intervals: a pair that an earlier round admits is
      left out, so that every pair counts once.
    dense: bool, all pairs of a sequence are computed and weighted by how often
      the rounds admit them: the same sum, faster for short sequences.
  """

  chunk_len: int
  n_chunks_before: int
  n_chunks_after: int
  causal: bool
  shared_qk: bool
  ring: bool
  intervals: bool = False
  count_once: bool = False
  dense: bool = False

  @property
  def n_chunks(self):
    """Number of chunks in the look of one chunk."""
    return self.n_chunks_before + 1 + self.n_chunks_after

  def block(self, length):
    """Shape of a block of scores: queries and the keys that they look at."""
    if self.dense:
      return length, length
    return self.chunk_len, self.chunk_len * self.n_chunks


class Orders(NamedTuple):
  """How each round sorts the sequence, int32 [n, rounds, length] each.

  Attributes:
    order: the position of the r-th token of the sorted sequence.
    rank: its inverse, by position.
    low: by position, the lowest rank that this token may see, or None
      without look.intervals.
    size: by position, how many ranks from there on, or None.
  """

  order: jax.Array
  rank: jax.Array
  low: jax.Array | None = None
  size: jax.Array | None = None


class Rounds:
  """Sorted and chunked views of a group's sequences, and the way back.

  The chunks are [rings, n_chunks, chunk_len, ...]: one ring a sequence that
  holds all rounds, or one "ring" a sequence and round whose ends are open.
  """

  def __init__(self, look, shape, orders):
    self._look = look
    self._group, self._length = shape
    self._orders = orders
    self._n_rounds = 1 if orders is None else orders.rank.shape[1]
    self._rings = self._group * (1 if look.ring else self._n_rounds)
    if orders is not None:
      # Rows of the group's sequences laid end to end.
      first = jnp.arange(self._group, dtype=jnp.int32)[:, None, None]
      self._order = (orders.order + first * self._length).reshape(-1)
      in_group = first * self._n_rounds * self._length
      in_round = jnp.arange(self._n_rounds, dtype=jnp.int32)[:, None]
      self._rank = orders.rank + in_group + in_round * self._length

  def chunks(self, x):
    """[group, length, ...] -> [rings, n_chunks, chunk_len, ...], sorted."""
    x = x.reshape((-1,) + x.shape[2:])
    if self._orders is not None:
      x = _take(x, self._order)
    return x.reshape((self._rings, -1, self._look.chunk_len) + x.shape[1:])

  def by_round(self, x):
    """Chunks [rings, n_chunks, chunk_len, ...] -> [group, length, ...] each."""
    if self._orders is None:
      return [x.reshape((self._group, self._length) + x.shape[3:])]
    x = x.reshape((-1,) + x.shape[3:])
    # A gather for each round and their sum are faster than one gather of all.
    return [_take(x, self._rank[:, r]) for r in range(self._n_rounds)]

  def look(self, x, fill=0):
    """Puts the neighbouring chunks beside every chunk."""
    look = self._look
    return look_adjacent(
      x, look.n_chunks_before, look.n_chunks_after, look.ring, fill
    )

  def unlook(self, x):
    """Adds the copies that look() made."""
    look = self._look
    return add_adjacent(x, look.n_chunks_before, look.n_chunks_after, look.ring)

  def counts(self, key_position, keys_first=False):
    """How often each block admits each pair.

    Args:
      key_position: int32 [group, length], or MASKED.
      keys_first: bool, the last two axes are (key, query), not (query, key).

    Returns:
      bool [rings, n_chunks, chunk_len, width].
    """
    look = self._look
    position = jnp.arange(self._length, dtype=jnp.int32)
    position = jnp.broadcast_to(position, key_position.shape)
    of_query, of_key = (-2, -1) if keys_first else (-1, -2)
    query = jnp.expand_dims(self.chunks(position), of_query)
    key = jnp.expand_dims(self.look(self.chunks(key_position), MASKED), of_key)
    allowed = _allowed(look, query, key)
    if not look.intervals:
      return allowed

    own = jnp.arange(self._n_rounds, dtype=jnp.int32)
    own = jnp.tile(own, self._group).reshape(-1, 1, 1, 1)
    for r in range(self._n_rounds):
      rank, low, size = (
        self.chunks(x[:, r])
        for x in (self._orders.rank, self._orders.low, self._orders.size)
      )
      rank = jnp.expand_dims(self.look(rank), of_key)
      low, size = (jnp.expand_dims(x, of_query) for x in (low, size))
      admitted = _within(rank, low, size)
      # In its own round a pair must be admitted; an earlier round that
      # admits it has counted it already.
      allowed &= admitted | (own != r)
      if look.count_once and r < self._n_rounds - 1:
        allowed &= ~admitted | (own <= r)
    return allowed


class Dense:
  """Every sequence as one block, in the order of its positions."""

  def __init__(self, look, shape, orders):
    self._look = look
    self._length = shape[1]
    self._orders = orders

  def chunks(self, x):
    """[group, length, ...] -> [group, 1, length, ...]."""
    return x[:, None]

  def by_round(self, x):
    """The inverse of chunks, as a list of one."""
    return [x[:, 0]]

  def look(self, x):
    """The one block sees itself."""
    return x

  unlook = look

  def counts(self, key_position, keys_first=False):
    """How often all rounds together admit each pair.

    Args:
      key_position: int32 [group, length], or MASKED.
      keys_first: bool, the last two axes are (key, query), not (query, key).

    Returns:
      bool, int32 or float32 [group, 1, length, length].
    """
    look = self._look
    of_query, of_key = (-2, -1) if keys_first else (-1, -2)
    query = lambda x: jnp.expand_dims(x[:, None], of_query)
    key = lambda x: jnp.expand_dims(x[:, None], of_key)
    position = jnp.arange(self._length, dtype=jnp.int32)[None]
    allowed = _allowed(look, query(position), key(key_position))
    if not look.intervals:
      counts = self._counts_of_chunks()
      counts = jnp.swapaxes(counts, 1, 2) if keys_first else counts
      return jnp.where(allowed, counts[:, None], 0)
    admitted = [
      _within(key(rank), query(low), query(size))
      for _, rank, low, size in self._by_round()
    ]
    if look.count_once:
      return allowed & functools.reduce(jnp.logical_or, admitted)
    return jnp.where(allowed, sum(x.astype(jnp.int32) for x in admitted), 0)

  def _by_round(self):
    """The orders of one round after another, [group, length] each."""
    n_rounds = self._orders.rank.shape[1]
    return [[x[:, r] for x in self._orders] for r in range(n_rounds)]

  def _counts_of_chunks(self):
    """In how many looks of a query a key is: float32 [group, query, key].

    The product of two matrices over the chunks of all rounds: how often the
    query's looks hold a chunk, and whether the key is in it.
    """
    look, rank = self._look, self._orders.rank
    n_rounds, length = rank.shape[1:]
    n_chunks = length // look.chunk_len
    n_all = n_rounds * n_chunks
    every = jnp.arange(n_all, dtype=jnp.int32)
    looks = members = 0
    for r in range(n_rounds):
      chunk = (rank[:, r] // look.chunk_len + r * n_chunks)[..., None]
      members += (chunk == every).astype(jnp.float32)
      first = chunk - look.n_chunks_before
      if look.ring:
        # Chunks of all rounds in one ring, which a look may go round.
        whole, rest = divmod(look.n_chunks, n_all)
        looks += whole + ((every - first) % n_all < rest).astype(jnp.float32)
      else:
        inside = every // n_chunks == r
        seen = inside & _within(every, first, look.n_chunks)
        looks += seen.astype(jnp.float32)
    return jnp.einsum('gqc,gkc->gqk', looks, members)


def _allowed(look, query, key):
  """Pairs of positions that causality, padding and self-exclusion allow."""
  if look.causal:
    return key < query if look.shared_qk else key <= query
  allowed = key != MASKED
  return allowed & (key != query) if look.shared_qk else allowed


def _within(x, low, size):
  """low <= x < low + size, as one comparison: less than low wraps around."""
  size = jnp.asarray(size)
  return (x - low).astype(jnp.uint32) < size.astype(jnp.uint32)


def _take(x, index):
  return x.at[index].get(mode='promise_in_bounds')

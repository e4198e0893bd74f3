"""Views of sequences for attention within chunks.

All have the same methods, for chunks of the shape [rings, n_chunks, chunk_len,
...]: chunks() cuts the data, own() keeps the chunks that ask, disown() puts
zeros where the others were, look() puts beside each of those that ask the
chunks that it sees, unlook() adds such copies up again, counts() says which
pairs the block admits.
"""

import functools

import jax.numpy as jnp

from trax_reformer_ext.ops.chunks import add_adjacent, look_adjacent
from trax_reformer_ext.ops.look import MASKED, allowed_pairs, is_within


class Chunks:
  """What the views of sorted sequences share: which pairs they admit."""

  def __init__(self, look, orders):
    self._look = look
    self._orders = orders
    self._n_rounds = 1 if orders is None else orders.rank.shape[1]

  def counts(self, key_position, keys_first=False):
    """How often each block admits each pair.

    Args:
      key_position: int32 [group, length], or MASKED.
      keys_first: bool, the last two axes are (key, query), not (query, key).

    Returns:
      bool [rings, n_chunks, chunk_len, width].
    """
    look = self._look
    of_query, of_key = (-2, -1) if keys_first else (-1, -2)
    position = jnp.arange(key_position.shape[1], dtype=jnp.int32)
    position = jnp.broadcast_to(position, key_position.shape)
    query = jnp.expand_dims(self.own(self.chunks(position)), of_query)
    key = self.look(self.chunks(key_position), MASKED)
    allowed = allowed_pairs(look, query, jnp.expand_dims(key, of_key))
    allowed &= self._in_reach(of_key)
    if not look.intervals:
      return allowed

    own = self._round_of_chunk
    for r in range(self._n_rounds):
      rank, low, size = (
        self.chunks(x[:, r])
        for x in (self._orders.rank, self._orders.low, self._orders.size)
      )
      rank = jnp.expand_dims(self.look(rank), of_key)
      low, size = (jnp.expand_dims(self.own(x), of_query) for x in (low, size))
      admitted = is_within(rank, low, size)
      # In its own round a pair must be admitted; an earlier round that
      # admits it has counted it already.
      allowed &= admitted | (own != r)
      if look.count_once and r < self._n_rounds - 1:
        allowed &= ~admitted | (own <= r)
    return allowed


class Rounds(Chunks):
  """All chunks of the sorted sequences of a group, and the way back.

  One ring a sequence that holds all rounds, or one "ring" a sequence and round
  whose ends are open.
  """

  def __init__(self, look, shape, orders):
    super().__init__(look, orders)
    self._group, self._length = shape
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
      x = take(x, self._order)
    return x.reshape((self._rings, -1, self._look.chunk_len) + x.shape[1:])

  def by_round(self, x):
    """Chunks [rings, n_chunks, chunk_len, ...] -> [group, length, ...] each."""
    if self._orders is None:
      return [x.reshape((self._group, self._length) + x.shape[3:])]
    x = x.reshape((-1,) + x.shape[3:])
    # A gather for each round and their sum are faster than one gather of all.
    return [take(x, self._rank[:, r]) for r in range(self._n_rounds)]

  def own(self, x):
    """All chunks ask."""
    return x

  disown = own

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

  @property
  def _round_of_chunk(self):
    """The round of each chunk, if rounds are rings of their own."""
    own = jnp.arange(self._n_rounds, dtype=jnp.int32)
    return jnp.tile(own, self._group).reshape(-1, 1, 1, 1)

  def _in_reach(self, of_key):
    """Whatever look() shows lies in reach."""
    del of_key
    return True


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

  own = disown = unlook = look

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
    allowed = allowed_pairs(look, query(position), key(key_position))
    if not look.intervals:
      counts = self._counts_of_chunks()
      counts = jnp.swapaxes(counts, 1, 2) if keys_first else counts
      return jnp.where(allowed, counts[:, None], 0)
    admitted = [
      is_within(key(rank), query(low), query(size))
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
        seen = inside & is_within(every, first, look.n_chunks)
        looks += seen.astype(jnp.float32)
    return jnp.einsum('gqc,gkc->gqk', looks, members)


def take(x, index):
  """x[index], for an index that is known to be in bounds."""
  return x.at[index].get(mode='promise_in_bounds')

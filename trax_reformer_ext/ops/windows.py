"""One long sequence, a window of its chunks at a time."""

import jax
import jax.numpy as jnp

from trax_reformer_ext.ops.loops import scan_onto, zeros_after
from trax_reformer_ext.ops.views import Chunks, take


def over_windows(fn, n, look, orders, q):
  """Computes a function of all chunks of a sequence, n of them at a time.

  Args:
    fn: function of a Window that returns (own, reached): a tree of arrays [1,
      n, chunk_len, ...] for the chunks that ask, and a tree of float arrays
      [1, n and those in reach, chunk_len, ...] to be added up for the chunks
      that they see.
    n: int.
    look: Look, not dense.
    orders: None, or Orders of int32 [1, rounds, length].
    q: float [1, length, ...], length a multiple of look.chunk_len: an array
      that exists before the results do.

  Returns:
    (own, reached), of all chunks [rings, n_chunks, chunk_len, ...], as Rounds
    has them.
  """
  length = q.shape[1]
  n_rounds = 1 if orders is None else orders.rank.shape[1]
  n_chunks = n_rounds * length // look.chunk_len
  first = jnp.arange(0, n_chunks, n, dtype=jnp.int32)
  run = lambda first: fn(Window(look, length, orders, first, n))
  own, reached = jax.eval_shape(run, first[0])
  shaped = lambda shape, x: jax.ShapeDtypeStruct(shape, x.dtype)
  own = jax.tree.map(lambda x: shaped(first.shape + x.shape, x), own)
  n_reached = len(first) * n + look.n_chunks - 1
  reached = jax.tree.map(
    lambda x: shaped((1, n_reached) + x.shape[2:], x), reached
  )

  def step(sums, first):
    own, reached = run(first)
    return jax.tree.map(lambda s, x: _add_at(first, s, x), sums, reached), own

  own, sums = zeros_after(q, (own, reached))
  sums, own = scan_onto(step, sums, own, first)
  own = jax.tree.map(lambda x: x.reshape((-1,) + x.shape[3:])[:n_chunks], own)
  sums = jax.tree.map(lambda x: _fold(look, n_chunks, x[0]), sums)
  rings = 1 if look.ring else n_rounds
  split = lambda x: x.reshape((rings, -1) + x.shape[1:])
  return jax.tree.map(split, (own, sums))


class Window(Chunks):
  """A few consecutive chunks of one sorted sequence, all rounds end to end.

  chunks() gathers the chunks that ask and those that they see beside them.
  Only these exist at a time, however long the sequence is.
  """

  def __init__(self, look, length, orders, first, n):
    """Chooses chunks.

    Args:
      look: Look, not dense.
      length: int, positions in the sequence, a multiple of look.chunk_len.
      orders: None, or Orders of int32 [1, rounds, length].
      first: int32 scalar, the first chunk that asks.
      n: int, how many ask; those past the last chunk see nothing.
    """
    super().__init__(look, orders)
    self._n = n
    a_round = length // look.chunk_len
    n_all = self._n_rounds * a_round
    chunk = jnp.arange(n + look.n_chunks - 1, dtype=jnp.int32)
    chunk += first - look.n_chunks_before
    self._exists = self.own(chunk[None] < n_all)
    self._round = (chunk // a_round)[None]
    chunk = chunk % n_all if look.ring else jnp.clip(chunk, 0, n_all - 1)
    row = jnp.arange(look.chunk_len, dtype=jnp.int32)
    row = chunk[:, None] * look.chunk_len + row
    self._token = row if orders is None else take(orders.order.ravel(), row)

  def chunks(self, x):
    """[1, length, ...] -> [1, n and those in reach, chunk_len, ...]."""
    return take(x[0], self._token)[None]

  def own(self, x):
    """Keeps the chunks that ask."""
    before = self._look.n_chunks_before
    return x[:, before : before + self._n]

  def disown(self, x):
    """Puts zeros beside the chunks that ask."""
    look = self._look
    ends = (0, 0), (look.n_chunks_before, look.n_chunks_after)
    return jnp.pad(x, ends + ((0, 0),) * (x.ndim - 2))

  def look(self, x, fill=0):
    """Puts beside every chunk that asks those that it sees."""
    del fill  # what lies outside is not in reach
    shifted = [x[:, i : i + self._n] for i in range(self._look.n_chunks)]
    return jnp.concatenate(shifted, axis=2)

  def unlook(self, x):
    """Adds the copies that look() made."""
    last = self._look.n_chunks - 1
    ends = lambda i: ((0, 0), (i, last - i)) + ((0, 0),) * (x.ndim - 2)
    parts = jnp.split(x, last + 1, axis=2)
    return sum(jnp.pad(part, ends(i)) for i, part in enumerate(parts))

  @property
  def _round_of_chunk(self):
    """The round of each chunk that asks."""
    return self.own(self._round)[..., None, None]

  def _in_reach(self, of_key):
    """Existing chunks see keys of their round, or of all rounds in a ring."""
    exists = self._exists[..., None, None]
    if self._look.ring:
      return exists
    per_key = self._round[..., None] + jnp.zeros_like(self._token)
    key = jnp.expand_dims(self.look(per_key), of_key)
    return exists & (key == self._round_of_chunk)


def _add_at(first, total, x):
  """Adds x to the slice of total that begins at a chunk."""
  old = jax.lax.dynamic_slice_in_dim(total, first, x.shape[1], axis=1)
  return jax.lax.dynamic_update_slice_in_dim(total, old + x, first, axis=1)


def _fold(look, n_chunks, x):
  """Adds what lies outside to the chunks that are there in a ring."""
  before, after = look.n_chunks_before, look.n_chunks_after
  inside = x[before : before + n_chunks]
  if not look.ring:
    return inside
  for i in (*range(-before, 0), *range(n_chunks, n_chunks + after)):
    inside = inside.at[i % n_chunks].add(x[before + i])
  return inside

"""Who sees whom in chunked attention."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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


def allowed_pairs(look, query, key):
  """Pairs of positions that causality, padding and self-exclusion allow.

  Args:
    look: Look.
    query: int32, positions of queries.
    key: int32, positions of keys, or MASKED; broadcast against query.

  Returns:
    bool.
  """
  if look.causal:
    return key < query if look.shared_qk else key <= query
  real = key != MASKED
  return real & (key != query) if look.shared_qk else real


def is_alone(log_norm, key_position):
  """Real tokens that may see nothing but themselves.

  Args:
    log_norm: float32, log-normalisers of queries, inf where nothing was seen.
    key_position: int32 like log_norm, positions of the same tokens, or MASKED.

  Returns:
    bool.
  """
  return jnp.isposinf(log_norm) & (key_position != MASKED)


def is_within(x, low, size):
  """low <= x < low + size, as one comparison: less than low wraps around.

  Args:
    x: int32.
    low: int32.
    size: int32 or int, at least 0.

  Returns:
    bool.
  """
  size = jnp.asarray(size)
  return (x - low).astype(jnp.uint32) < size.astype(jnp.uint32)

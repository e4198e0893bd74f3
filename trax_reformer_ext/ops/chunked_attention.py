"""Attention within chunks of a sequence that is sorted once for each round.

The common core of LSH attention (several rounds, each with its own order) and
of local attention (one round, the order of the sequence). Every row is one
softmax over all keys that any round allows it to see (appendix A of Kitaev et
al. 2020: combining the rounds by their log-normalisers is the same sum).

The gradient is written by hand: what is kept for it are the inputs, the
output, one log-normaliser a token and the orders; scores and probabilities
exist for one group of heads at a time, forward and backward.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trax_reformer_ext.ops.chunks import add_adjacent, look_adjacent
from trax_reformer_ext.ops.loops import map_onto

# The position of a key that nothing may attend to.
MASKED = np.int32(2**31 - 1)
# Added to the mean square of a key before it divides, as in Trax.
_EPSILON = 1e-6
# Scores of the heads that are computed together fill about this many bytes.
_GROUP_BYTES = 8 * 2**20


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
  """

  chunk_len: int
  n_chunks_before: int
  n_chunks_after: int
  causal: bool
  shared_qk: bool
  ring: bool
  intervals: bool = False
  count_once: bool = False

  @property
  def width(self):
    """Number of keys in the look of one chunk."""
    return self.chunk_len * (1 + self.n_chunks_before + self.n_chunks_after)


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


def chunked_attention(q, k, v, key_position, orders, multiplier, *, look):
  """Attends within chunks of every round's order, as one softmax a query.

  out_i = sum_j m_ij exp(q_i . k_j - z_i) v_j over the allowed pairs (round,
  j), z_i the log of the sum of exp(q_i . k_j) over the same pairs (equations
  14 to 16 of the paper); v_i where look.shared_qk and no pair but (i, i) is
  allowed; 0 where nothing is allowed.

  Args:
    q: float [n, length, d_qk], scaled queries if k is given, n = examples
      times heads, length a multiple of look.chunk_len.
    k: float [n, length, d_qk], or None when look.shared_qk: then
      k_j = q_j / |q_j|.
    v: float [n, length, d_v].
    key_position: int32 [n, length], the position of each key, or MASKED.
    orders: None for the order of the sequence, or Orders of int32
      [n, rounds, length].
    multiplier: float32 [chunk_len, look.width], dropout of the attention
      weights, broadcast over chunks, rounds and n (as in Trax); or None.
    look: Look.

  Returns:
    [n, length, d_v], dtype of v. Scores, softmax and sums are float32.
  """
  n_rounds = 1 if orders is None else orders.rank.shape[1]
  n, length = q.shape[:2]
  group = _group_size(n, n_rounds * length * look.width * 4)
  return _attention(look, group, q, k, v, key_position, orders, multiplier)


def normalised_keys(q):
  """The keys of shared query-key attention: q / |q|, any leading shape."""
  return (q * _inverse_norm(q.astype(jnp.float32))).astype(q.dtype)


def dropout_multiplier(rng, rate, look):
  """Draws the dropout of attention weights, shared by all chunks.

  Args:
    rng: JAX PRNG key, or None if rate is 0.
    rate: float in [0, 1).
    look: Look.

  Returns:
    float32 [chunk_len, width], 0 or 1 / (1 - rate); None if rate is 0.
  """
  if not rate:
    return None
  keep = jax.random.bernoulli(rng, 1 - rate, (look.chunk_len, look.width))
  return keep.astype(jnp.float32) / (1 - rate)


def _group_size(n, bytes_each):
  """The largest divisor of n whose scores fit the budget, at least 1."""
  most = max(1, min(n, _GROUP_BYTES // bytes_each))
  return next(g for g in range(most, 0, -1) if n % g == 0)


def _over_groups(fn, group, onto, *arrays):
  """Maps fn over groups of the leading axis, one group after another."""
  n = onto[0].shape[0]
  if n == group:
    return fn(*arrays)
  split = lambda x: x.reshape((n // group, group) + x.shape[1:])
  merge = lambda x: x.reshape((n,) + x.shape[2:])
  onto, arrays = jax.tree.map(split, (onto, arrays))
  return jax.tree.map(merge, map_onto(fn, onto, *arrays))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attention(look, group, q, k, v, key_position, orders, multiplier):
  return _attention_fwd(look, group, q, k, v, key_position, orders, multiplier)[
    0
  ]


def _attention_fwd(look, group, q, k, v, key_position, orders, multiplier):
  forward = functools.partial(_forward, look, multiplier)
  onto = v, v[..., 0].astype(jnp.float32)
  out, log_norm = _over_groups(
    forward, group, onto, q, k, v, key_position, orders
  )
  saved = q, k, v, key_position, orders, multiplier, out, log_norm
  return out, saved


def _attention_bwd(look, group, saved, d_out):
  q, k, v, key_position, orders, multiplier, out, log_norm = saved
  backward = functools.partial(_backward, look, multiplier)
  onto = q, k, v
  dq, dk, dv = _over_groups(
    backward, group, onto, q, k, v, key_position, orders, out, log_norm, d_out
  )
  zeros = lambda x: np.zeros(x.shape, jax.dtypes.float0)
  none = None if multiplier is None else jnp.zeros_like(multiplier)
  return dq, dk, dv, zeros(key_position), jax.tree.map(zeros, orders), none


_attention.defvjp(_attention_fwd, _attention_bwd)


def _forward(look, multiplier, q, k, v, key_position, orders):
  """Output [g, length, d_v] and log-normaliser [g, length] of one group."""
  view = _Rounds(look, q.shape[:2], orders)
  queries = view.chunks(q)
  keys = view.look(view.keys(queries, k))
  values = view.look(view.chunks(v))
  scores = _dot('rncd,rnwd->rncw', queries, keys)
  scores = jnp.where(view.allowed(key_position), scores, -jnp.inf)
  # A finite floor, so that a row without any key gives exp(-inf) = 0.
  top = jnp.maximum(jnp.max(scores, axis=-1), jnp.float32(-1e30))
  weights = jnp.exp(scores - top[..., None])
  total = jnp.sum(weights, axis=-1)
  if multiplier is not None:
    weights = weights * multiplier
  sums = _dot('rncw,rnwv->rncv', weights.astype(v.dtype), values)

  top, total, sums = (view.by_round(x) for x in (top, total, sums))
  highest = functools.reduce(jnp.maximum, top)
  factors = [jnp.exp(t - highest) for t in top]
  total = sum(f * t for f, t in zip(factors, total, strict=True))
  out = sum(f[..., None] * s for f, s in zip(factors, sums, strict=True))
  any_key = total > 0
  out = jnp.where(any_key[..., None], out / total[..., None], 0)
  # The log-normaliser inf says that nothing was seen: exp(score - inf) = 0.
  log_norm = jnp.where(any_key, highest + jnp.log(total), jnp.inf)
  if look.shared_qk:
    alone = _alone(log_norm, key_position)[..., None]
    out = jnp.where(alone, v.astype(out.dtype), out)
  return out.astype(v.dtype), log_norm


def _backward(
  look, multiplier, q, k, v, key_position, orders, out, log_norm, d_out
):
  """Gradients of one group with respect to q, k and v."""
  view = _Rounds(look, q.shape[:2], orders)
  # sum_j P_ij dP_ij = out_i . d_out_i
  inner = jnp.sum(out.astype(jnp.float32) * d_out.astype(jnp.float32), axis=-1)
  queries = view.chunks(q)
  keys = view.look(view.keys(queries, k))
  values = view.look(view.chunks(v))
  d_outs = view.chunks(d_out)
  # Scores as [key, query]: then the left operand of most products has the
  # contracted axis minor, which XLA's CPU back end runs twice as fast.
  scores = _dot('rnwd,rncd->rnwc', keys, queries)
  allowed = view.allowed(key_position, keys_first=True)
  scores = jnp.where(allowed, scores, -jnp.inf)
  weights = jnp.exp(scores - view.chunks(log_norm)[..., None, :])
  d_weights = _dot('rnwv,rncv->rnwc', values, d_outs)
  dropped = weights
  if multiplier is not None:
    d_weights = d_weights * multiplier.T
    dropped = weights * multiplier.T
  d_scores = weights * (d_weights - view.chunks(inner)[..., None, :])
  d_scores = d_scores.astype(q.dtype)
  d_values = _dot('rnwc,rncv->rnwv', dropped.astype(v.dtype), d_outs)
  d_keys = view.unlook(_dot('rnwc,rncd->rnwd', d_scores, queries))
  d_queries = _dot('rnwc,rnwd->rncd', d_scores, keys)
  if look.shared_qk:
    d_queries += _normalised_bwd(queries.astype(jnp.float32), d_keys)
    dk = None
  else:
    dk = sum(view.by_round(d_keys)).astype(k.dtype)
  dq = sum(view.by_round(d_queries)).astype(q.dtype)
  dv = sum(view.by_round(view.unlook(d_values)))
  if look.shared_qk:
    alone = _alone(log_norm, key_position)[..., None]
    dv += jnp.where(alone, d_out.astype(jnp.float32), 0)
  return dq, dk, dv.astype(v.dtype)


def _alone(log_norm, key_position):
  """Real tokens that may see nothing but themselves."""
  return jnp.isposinf(log_norm) & (key_position != MASKED)


class _Rounds:
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

  def keys(self, queries, k):
    """The keys in chunks: of their own, or the queries at length 1."""
    if not self._look.shared_qk:
      return self.chunks(k)
    return normalised_keys(queries)

  def allowed(self, key_position, keys_first=False):
    """bool [rings, n_chunks, chunk_len, width], or with keys before queries."""
    look = self._look
    position = jnp.arange(self._length, dtype=jnp.int32)
    position = jnp.broadcast_to(position, key_position.shape)
    of_query, of_key = (-2, -1) if keys_first else (-1, -2)
    query = jnp.expand_dims(self.chunks(position), of_query)
    key = jnp.expand_dims(self.look(self.chunks(key_position), MASKED), of_key)
    if look.causal:
      allowed = key < query if look.shared_qk else key <= query
    else:
      allowed = key != MASKED
      if look.shared_qk:
        allowed &= key != query
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
      # One comparison: a rank below the interval wraps to a large number.
      admitted = (rank - low).astype(jnp.uint32) < size.astype(jnp.uint32)
      # In its own round a pair must be admitted; an earlier round that
      # admits it has counted it already.
      allowed &= admitted | (own != r)
      if look.count_once and r < self._n_rounds - 1:
        allowed &= ~admitted | (own <= r)
    return allowed


def _dot(spec, x, y):
  return jnp.einsum(spec, x, y, preferred_element_type=jnp.float32)


def _take(x, index):
  return x.at[index].get(mode='promise_in_bounds')


def _inverse_norm(x):
  """1 / |x|, with Trax's epsilon: its keys and scores are x / rms(x) / d^.5."""
  d = x.shape[-1]
  square = jnp.sum(x * x, axis=-1, keepdims=True)
  return jax.lax.rsqrt(square + d * _EPSILON)


def _normalised_bwd(x, d_normalised):
  """Gradient of x * _inverse_norm(x)."""
  inverse = _inverse_norm(x)
  along = jnp.sum(x * d_normalised, axis=-1, keepdims=True)
  return inverse * (d_normalised - inverse**2 * along * x)

"""Attention of one new token to those before it, which are kept in a cache.

A cache is made once from the tokens that are there already (a prompt), and
every step adds one token to it. A step computes what the whole sequence would
give at its last position: for causal full attention; for causal local
attention whose look ends at the start of the sequence; for LSH attention with
strictly_causal.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from trax_reformer_ext.ops.keys import normalised_keys
from trax_reformer_ext.ops.sorting import bucket_ends, sort_by_bucket


class KeysAndValues(NamedTuple):
  """The tokens so far, or the latest: position p is at the place p % size.

  Attributes:
    keys: float [batch, heads, size, d_qk].
    values: float [batch, heads, size, d_v].
    lengths: int32 [batch], tokens so far.
  """

  keys: jax.Array
  values: jax.Array
  lengths: jax.Array


class LSHCache(NamedTuple):
  """All tokens so far, and for each bucket its latest members.

  Attributes:
    tokens: float [batch, heads, size, d_qk + d_v], keys and values side by
      side, as they are read together and from anywhere.
    counts: int32 [batch, heads, rounds, n_buckets], members of each bucket.
    members: int32 [batch, heads, rounds, n_buckets, window], positions of the
      latest members: the n-th is at the place n % window.
    lengths: int32 [batch], tokens so far.
  """

  tokens: jax.Array
  counts: jax.Array
  members: jax.Array
  lengths: jax.Array


def start_full(q, k, v, lengths, *, size):
  """Makes a cache of all tokens of a prompt.

  Args:
    q: float [batch, heads, length, d_qk].
    k: as q, or None for shared query-key attention.
    v: float [batch, heads, length, d_v].
    lengths: int32 [batch], tokens of each prompt; the rest is padding.
    size: int, the longest sequence, at least length.

  Returns:
    KeysAndValues.
  """
  keys = normalised_keys(q) if k is None else k
  grow = lambda x: _grow(x, size, 2)
  return KeysAndValues(grow(keys), grow(v), lengths)


def step_full(q, k, v, cache):
  """Attends from one more token to all before it and itself.

  Args:
    q: float [batch, heads, 1, d_qk].
    k: as q, or None for shared query-key attention, in which a token sees
      itself only where there is no other.
    v: float [batch, heads, 1, d_v].
    cache: KeysAndValues.

  Returns:
    (out [batch, heads, 1, d_v], KeysAndValues). NaN beyond the cache's size.
  """
  shared = k is None
  t = cache.lengths
  cache = KeysAndValues(
    _put(cache.keys, normalised_keys(q) if shared else k, t, 2),
    _put(cache.values, v, t, 2),
    t + 1,
  )
  size = cache.keys.shape[2]
  position = jnp.arange(size, dtype=jnp.int32)
  seen = t[:, None] if shared else t[:, None] + 1
  allowed = (position < seen)[:, None]
  out = _attend(_scaled(q, shared), v, cache.keys, cache.values, allowed)
  return _nan_beyond(size, t, out), cache


def start_local(q, k, v, lengths, *, chunk_len, n_chunks_before):
  """Makes a cache of the latest tokens of a prompt.

  Args:
    q: float [batch, heads, length, d_qk].
    k: as q, or None for shared query-key attention.
    v: float [batch, heads, length, d_v].
    lengths: int32 [batch], tokens of each prompt; the rest is padding.
    chunk_len: int, tokens in a chunk.
    n_chunks_before: int, chunks before its own that a token sees.

  Returns:
    KeysAndValues.
  """
  keys = normalised_keys(q) if k is None else k
  size = (n_chunks_before + 1) * chunk_len
  position = jnp.maximum(_positions(lengths[:, None] - 1, size), 0)
  take = lambda x: jnp.take_along_axis(x, position[:, None, :, None], axis=2)
  return KeysAndValues(take(keys), take(v), lengths)


def step_local(q, k, v, cache, *, chunk_len, n_chunks_before):
  """Attends from one more token to its chunk so far and those before.

  Args:
    q: float [batch, heads, 1, d_qk].
    k: as q, or None for shared query-key attention.
    v: float [batch, heads, 1, d_v].
    cache: KeysAndValues.
    chunk_len: int, as of start_local.
    n_chunks_before: int, as of start_local.

  Returns:
    (out [batch, heads, 1, d_v], KeysAndValues).
  """
  shared = k is None
  t = cache.lengths
  size = cache.keys.shape[2]
  cache = KeysAndValues(
    _put(cache.keys, normalised_keys(q) if shared else k, t % size, 2),
    _put(cache.values, v, t % size, 2),
    t + 1,
  )
  last = t[:, None]
  position = _positions(last, size)
  first = jnp.maximum((last // chunk_len - n_chunks_before) * chunk_len, 0)
  seen = position < last if shared else position <= last
  allowed = ((position >= first) & seen)[:, None]
  out = _attend(_scaled(q, shared), v, cache.keys, cache.values, allowed)
  return out, cache


def start_lsh(q, v, buckets, lengths, *, n_buckets, window, size):
  """Makes an LSHCache of a prompt.

  Args:
    q: float [batch, heads, length, d_qk], shared queries and keys.
    v: float [batch, heads, length, d_v].
    buckets: int [batch, heads, rounds, length], in [0, n_buckets).
    lengths: int32 [batch], tokens of each prompt; the rest is padding.
    n_buckets: int.
    window: int, how many members of its bucket a token sees.
    size: int, the longest sequence, at least length.

  Returns:
    LSHCache.
  """
  batch, heads, rounds, length = buckets.shape
  position = jnp.arange(length, dtype=jnp.int32)
  real = (position < lengths[:, None])[:, None, None]
  # Padding has a bucket of its own, which is put nowhere below.
  buckets = jnp.where(real, buckets.astype(jnp.int32), n_buckets)
  order, rank = sort_by_bucket(buckets, n_buckets + 1)
  first, last = bucket_ends(buckets, order, rank)
  at = _leading(batch, heads, rounds)
  counts = jnp.zeros((batch, heads, rounds, n_buckets), jnp.int32)
  counts = counts.at[*at, buckets].set(last - first, mode='drop')
  # Only the latest members are kept; the others are put nowhere.
  place = jnp.where(last - rank <= window, (rank - first) % window, window)
  members = jnp.zeros(counts.shape + (window,), jnp.int32)
  members = members.at[*at, buckets, place].set(position, mode='drop')
  tokens = _grow(_side_by_side(normalised_keys(q), v), size, 2)
  return LSHCache(tokens, counts, members, lengths)


def step_lsh(q, v, buckets, cache):
  """Attends from one more token to the latest members of its buckets.

  Args:
    q: float [batch, heads, 1, d_qk], shared query and key.
    v: float [batch, heads, 1, d_v].
    buckets: int [batch, heads, rounds, 1], of the token.
    cache: LSHCache.

  Returns:
    (out [batch, heads, 1, d_v], LSHCache). NaN beyond the cache's size.
  """
  t = cache.lengths
  buckets = buckets.astype(jnp.int32)[..., 0]
  batch, heads, rounds = buckets.shape
  size, window = cache.tokens.shape[2], cache.members.shape[-1]
  b, h, r = (x[..., 0] for x in _leading(batch, heads, rounds))
  counts = cache.counts[b, h, r, buckets]
  members = cache.members[b, h, r, buckets]  # [batch, heads, rounds, window]
  # What grows with the context is written before it is read: the other order
  # costs a copy of it all.
  cache = LSHCache(
    tokens=_put(cache.tokens, _side_by_side(normalised_keys(q), v), t, 2),
    counts=cache.counts.at[b, h, r, buckets].add(1),
    members=cache.members.at[b, h, r, buckets, counts % window].set(
      t[:, None, None]
    ),
    lengths=t + 1,
  )
  exist = _positions(counts[..., None] - 1, window) >= 0
  members = jnp.where(exist, members, size)  # comes last when sorted
  members = jnp.sort(members.reshape(batch, heads, rounds * window))
  # Equal ones, of several rounds, count once.
  again = members[..., 1:] == members[..., :-1]
  allowed = (members < size).at[..., 1:].min(~again)
  seen = jnp.take_along_axis(
    cache.tokens, members[..., None], axis=2, mode='clip'
  )
  # Zeros in place of a half leave the other one.
  d_qk = q.shape[-1]
  out = _attend(
    _side_by_side(q, jnp.zeros_like(v)),
    _side_by_side(jnp.zeros_like(q), v),
    seen,
    seen,
    allowed,
  )
  return _nan_beyond(size, t, out[..., d_qk:]), cache


def _attend(q, v, keys, values, allowed):
  """Softmax attention of one query; its own value where nothing is allowed.

  Args:
    q: [batch, heads, 1, d_qk].
    v: [batch, heads, 1, d_v].
    keys: [batch, heads, n, d_qk].
    values: [batch, heads, n, d_v].
    allowed: bool, [batch, 1 or heads, n].

  Returns:
    [batch, heads, 1, d_v], dtype of v.
  """
  scores = jnp.einsum(
    'bhd,bhnd->bhn', q[:, :, 0], keys, preferred_element_type=jnp.float32
  )
  scores = jnp.where(allowed, scores, -jnp.inf)
  top = jnp.maximum(jnp.max(scores, axis=-1, keepdims=True), -1e30)
  weights = jnp.exp(scores - top)
  total = jnp.sum(weights, axis=-1)[..., None]
  out = jnp.einsum(
    'bhn,bhnd->bhd',
    weights.astype(v.dtype),
    values,
    preferred_element_type=jnp.float32,
  )
  some = total != 0
  out = jnp.where(some, out / jnp.where(some, total, 1), v[:, :, 0])
  return out.astype(v.dtype)[:, :, None]


def _side_by_side(keys, values):
  return jnp.concatenate([keys.astype(values.dtype), values], axis=-1)


def _scaled(q, shared):
  return q if shared else q * jnp.asarray(q.shape[-1] ** -0.5, q.dtype)


def _positions(last, size):
  """The position p <= last, p % size == place, that each place holds last."""
  return last - (last - jnp.arange(size, dtype=jnp.int32)) % size


def _leading(batch, heads, rounds):
  """Indices of the first three axes, for one more axis after them."""
  return (
    jnp.arange(batch)[:, None, None, None],
    jnp.arange(heads)[:, None, None],
    jnp.arange(rounds)[:, None],
  )


def _grow(x, size, axis):
  widths = [(0, 0)] * x.ndim
  widths[axis] = (0, size - x.shape[axis])
  return jnp.pad(x, widths)


def _put(x, row, index, axis):
  """Writes one place of an axis of x: index [batch], one for each example."""
  put = lambda x, row, i: jax.lax.dynamic_update_slice_in_dim(
    x, row.astype(x.dtype), i, axis - 1
  )
  return jax.vmap(put)(x, row, index)


def _nan_beyond(size, t, out):
  """NaN where the position t [batch] has no place in the cache."""
  return jnp.where((t < size)[:, None, None, None], out, jnp.nan)

"""Exact softmax attention, without the [length, length] matrix in memory."""

import jax
import jax.numpy as jnp

from trax_reformer_ext.ops.chunks import pad_to_multiple
from trax_reformer_ext.ops.keys import normalised_keys

# Scores of the queries that are computed together fill about this many bytes.
_BLOCK_BYTES = 32 * 2**20


def full_attention(
  q,
  k,
  v,
  mask=None,
  *,
  causal=False,
  block_len=None,
  dropout=0.0,
  dropout_rng=None,
):
  """Softmax attention of every query to all keys (equation 1 of the paper).

  Queries are taken in blocks, one block after another; the backward pass
  computes a block's scores again instead of keeping them.

  Args:
    q: float [batch, heads, length, d_qk].
    k: float [batch, heads, n_keys, d_qk], of the same sequence or another one;
      or None for shared query-key attention: keys are the queries at length 1,
      and a token sees itself only where it may see nothing else.
    v: float [batch, heads, n_keys, d_v].
    mask: None, or bool [batch, n_keys], True at real tokens.
    causal: bool, no attention to later positions; for keys of the same
      sequence.
    block_len: int, queries in a block; None chooses it by the memory.
    dropout: float, rate at which attention weights are dropped.
    dropout_rng: JAX PRNG key, needed for dropout > 0.

  Returns:
    [batch, heads, length, d_v], dtype of v; zero where nothing is allowed.
  """
  batch, heads, length, d_qk = q.shape
  shared_qk = k is None
  if shared_qk:
    k = normalised_keys(q)
  else:
    q = q * jnp.asarray(d_qk**-0.5, q.dtype)
  n_keys = k.shape[2]
  if block_len is None:
    block_len = max(1, _BLOCK_BYTES // (4 * batch * heads * n_keys))
  block_len = min(block_len, length)
  position = jnp.arange(n_keys, dtype=jnp.int32)
  key_mask = None if mask is None else mask[:, None, None, :]

  @jax.checkpoint
  def block(q, start, own):
    query_position = start + jnp.arange(block_len, dtype=jnp.int32)[:, None]
    scores = _dot('bhcd,bhld->bhcl', q, k)
    allowed = jnp.ones((block_len, n_keys), bool)
    if causal:
      allowed &= position <= query_position
    if shared_qk:
      allowed &= position != query_position
    if key_mask is not None:
      allowed = allowed & key_mask
    scores = jnp.where(allowed, scores, -jnp.inf)
    top = jnp.maximum(jnp.max(scores, axis=-1, keepdims=True), -1e30)
    weights = jnp.exp(scores - jax.lax.stop_gradient(top))
    total = jnp.sum(weights, axis=-1, keepdims=True)
    if dropout:
      rng = jax.random.fold_in(dropout_rng, start)
      keep = jax.random.bernoulli(rng, 1 - dropout, (block_len, n_keys))
      weights = weights * (keep / (1 - dropout))
    out = _dot('bhcl,bhld->bhcd', weights.astype(v.dtype), v)
    some = total != 0
    out = jnp.where(some, out / jnp.where(some, total, 1), 0)
    if shared_qk:
      v_own, mask_own = own
      alone = ~some & mask_own[:, None, :, None]
      out = jnp.where(alone, v_own.astype(out.dtype), out)
    return out.astype(v.dtype)

  own = ()
  if shared_qk:
    own = v, jnp.ones((batch, length), bool) if mask is None else mask
  if block_len == length:
    return block(q, jnp.int32(0), own)
  split = lambda x, axis: jnp.moveaxis(
    _in_blocks(pad_to_multiple(x, block_len, axis), block_len, axis), axis, 0
  )
  starts = jnp.arange(0, length, block_len, dtype=jnp.int32)
  blocks = split(q, 2), starts, tuple(map(split, own, (2, 1)))
  out = jax.lax.map(lambda x: block(*x), blocks)
  out = jnp.moveaxis(out, 0, 2).reshape(batch, heads, -1, v.shape[-1])
  return out[:, :, :length]


def _in_blocks(x, block_len, axis):
  shape = x.shape[:axis] + (-1, block_len) + x.shape[axis + 1 :]
  return x.reshape(shape)


def _dot(spec, x, y):
  return jnp.einsum(spec, x, y, preferred_element_type=jnp.float32)

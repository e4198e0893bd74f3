"""Attention of each chunk of a sequence to itself and its neighbours."""

import jax.numpy as jnp

from trax_reformer_ext.ops.chunked_attention import (
  chunked_attention,
  dropout_multiplier,
)
from trax_reformer_ext.ops.chunks import pad_to_multiple
from trax_reformer_ext.ops.look import MASKED, Look


def local_attention(
  q,
  k,
  v,
  mask=None,
  *,
  chunk_len,
  n_chunks_before=0,
  n_chunks_after=0,
  causal=False,
  wrap=True,
  dropout=0.0,
  dropout_rng=None,
  implementation='xla',
):
  """Softmax attention within chunks of a sequence, as Trax's chunked one.

  Args:
    q: float [batch, heads, length, d_qk]; any length.
    k: float [batch, heads, length, d_qk], or None for shared query-key
      attention: keys are the queries at length 1, and a token sees itself
      only where it may see nothing else.
    v: float [batch, heads, length, d_v].
    mask: None, or bool [batch, length], True at real tokens.
    chunk_len: int, tokens in a chunk.
    n_chunks_before: int, chunks before its own that a query sees.
    n_chunks_after: int, chunks after its own.
    causal: bool, no attention to later positions.
    wrap: bool, the first chunk follows the last one, as in Trax; False ends
      the look at the edges of the sequence.
    dropout: float, rate at which attention weights are dropped.
    dropout_rng: JAX PRNG key, needed for dropout > 0.
    implementation: as ops.chunked_attention takes it.

  Returns:
    [batch, heads, length, d_v], dtype of v; zero where nothing is allowed.
  """
  batch, heads, length, d_qk = q.shape
  look = Look(
    chunk_len=chunk_len,
    n_chunks_before=n_chunks_before,
    n_chunks_after=n_chunks_after,
    causal=causal,
    shared_qk=k is None,
    ring=wrap,
  )
  if k is not None:
    q = q * jnp.asarray(d_qk**-0.5, q.dtype)
  if mask is None:
    mask = jnp.ones((batch, length), bool)
  mask = pad_to_multiple(mask, chunk_len, 1, False)
  padded = mask.shape[1]
  key_position = jnp.where(mask, jnp.arange(padded, dtype=jnp.int32), MASKED)
  key_position = jnp.repeat(key_position, heads, axis=0)
  flat = lambda x: pad_to_multiple(x, chunk_len, 2).reshape(
    batch * heads, padded, x.shape[-1]
  )
  out = chunked_attention(
    flat(q),
    None if k is None else flat(k),
    flat(v),
    key_position,
    None,
    dropout_multiplier(dropout_rng, dropout, look, padded),
    look=look,
    implementation=implementation,
  )
  return out.reshape(batch, heads, padded, -1)[:, :, :length]

"""Runs Trax's own attention layers with given weights and given buckets."""

import jax
import jax.numpy as jnp
import numpy as np


def run_attention(layer, weights, x, mask, d_out, buckets=None, n_buckets=0):
  """Output and gradients of one of Trax's self-attention layers.

  Args:
    layer: trax.layers.SelfAttention or LSHSelfAttention, dropout 0.
    weights: tuple of arrays, as the layer's.
    x: float [batch, length, d_model].
    mask: bool [batch, length], or None for a layer with masked=False.
    d_out: float [batch, length, d_model], gradient of the output.
    buckets: int [batch, heads, rounds, length] for LSH attention.
    n_buckets: int, the number of buckets.

  Returns:
    (out, d_x, d_weights).
  """
  state = () if buckets is None else trax_state(buckets, mask, n_buckets)
  inputs = x if mask is None else (x, jnp.asarray(mask))
  out, _, d_inputs, d_weights = jax.jit(
    lambda inputs, weights, state, d_out: layer.forward_and_or_backward(
      inputs,
      weights,
      state,
      jax.random.PRNGKey(0),
      output_grad=d_out,
      compute_output=True,
      update_state=False,
    )
  )(inputs, tuple(weights), state, d_out)
  d_x = d_inputs if mask is None else d_inputs[0]
  return out, d_x, d_weights


def trax_state(buckets, mask, n_buckets):
  """The state of trax.layers.LSHSelfAttention that holds these buckets.

  Trax adds an offset a round, so that rounds sort one after another, and with
  a mask one more bucket, for padding.
  """
  buckets = np.asarray(buckets, np.int64)
  batch, heads, n_rounds, length = buckets.shape
  if mask is not None:
    real = np.asarray(mask)[:, None, None, :]
    buckets = np.where(real, buckets, n_buckets)
    n_buckets += 1
  buckets = buckets + n_buckets * np.arange(n_rounds)[:, None]
  flat = buckets.reshape(batch * heads, n_rounds * length)
  rngs = jax.random.split(jax.random.PRNGKey(0), batch * heads)
  return jnp.asarray(flat, jnp.int32), rngs


def buckets_of(state, batch, n_heads, n_hashes, n_buckets):
  """The inverse of trax_state, for the state after an unmasked forward pass.

  Returns:
    int32 [batch, n_heads, n_hashes, length], without the rounds' offsets.
  """
  buckets = np.asarray(state[0]).reshape(batch, n_heads, n_hashes, -1)
  buckets = buckets - n_buckets * np.arange(n_hashes)[:, None]
  assert buckets.min() >= 0 and buckets.max() < n_buckets
  return buckets.astype(np.int32)


def lsh_layers(model):
  """The attention layers of a Trax model that keep buckets, in order."""
  found = []
  for layer in model.sublayers:
    attention = getattr(layer, '_attention_layer', None)
    if attention is not None and type(attention).__name__ == 'LSHSelfAttention':
      found.append(attention)
    else:
      found.extend(lsh_layers(layer))
  return found

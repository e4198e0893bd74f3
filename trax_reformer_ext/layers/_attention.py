"""What all self-attention layers share: projections, dropout, the mask."""

import jax
import jax.numpy as jnp
from trax.layers import base

from trax_reformer_ext.layers._common import (
  check,
  check_mode,
  dropout_by_feature,
)
from trax_reformer_ext.ops.linear import linear


class Attention(base.Layer):
  """Projections to heads, attention, projection back.

  A subclass defines _project_names, the weights before w_o, and
  _attend(heads, mask, attend_rng, hash_rng, saved) -> (out, saved).
  """

  def __init__(
    self,
    n_heads,
    d_qk,
    d_v,
    causal,
    masked,
    mode,
    attention_dropout,
    output_dropout,
    bias,
    described,
  ):
    kind = type(self).__name__
    check_mode(kind, mode)
    for name, value in (('n_heads', n_heads), ('d_qk', d_qk), ('d_v', d_v)):
      check(
        isinstance(value, int) and value >= 1,
        f'{kind}.{name} is {value!r}: give an int of at least 1',
      )
    check(
      not bias,
      f'{kind}.bias is {bias!r}: projections have no bias here; use False',
    )
    for name, rate in (
      ('attention_dropout', attention_dropout),
      ('output_dropout', output_dropout),
    ):
      check(0 <= rate < 1, f'{kind}.{name} is {rate}: give a rate in [0, 1)')
    # Trax's memory-efficient trainer shares compiled functions between layers
    # of the same name, so the name tells all that the computation depends on.
    described = dict(
      n_heads=n_heads,
      d_qk=d_qk,
      d_v=d_v,
      causal=causal,
      dropout=(attention_dropout, output_dropout),
      mode=mode,
      **described,
    )
    arguments = ', '.join(f'{k}={v}' for k, v in described.items())
    super().__init__(n_in=2 if masked else 1, name=f'{kind}({arguments})')
    self._n_heads, self._d_qk, self._d_v = n_heads, d_qk, d_v
    self._causal, self._masked = causal, masked
    train = mode == 'train'
    self._train = train
    self._attention_dropout = attention_dropout if train else 0.0
    self._output_dropout = output_dropout if train else 0.0

  def _depths(self):
    """Depth of each projection from d_model, in the order of the weights."""
    raise NotImplementedError

  def init_weights_and_state(self, input_signature):
    if isinstance(input_signature, (tuple, list)):
      input_signature = input_signature[0]
    d_model = input_signature.shape[-1]
    depths = self._depths()
    rngs = jax.random.split(self.rng, len(depths) + 1)
    inward = tuple(
      _head_weights(rng, self._n_heads, d_model, depth)
      for rng, depth in zip(rngs, depths, strict=False)
    )
    w_o = _head_weights(rngs[-1], self._n_heads, d_model, self._d_v)
    self.weights = inward + (jnp.swapaxes(w_o, 1, 2),)

  def forward(self, inputs):
    out, _ = self.forward_and_save(inputs, self.weights, self.rng)
    return out

  def forward_and_save(self, inputs, weights, rng, saved=None):
    """Computes the output, and what a second evaluation needs to repeat it.

    Args:
      inputs: x [batch, length, d_model]; or (x, mask), mask bool
        [batch, length], True at real tokens.
      weights: this layer's weights.
      rng: JAX PRNG key.
      saved: what an earlier evaluation saved, or None.

    Returns:
      (out, saved): out [batch, length, d_model]; saved is () or the hash
      buckets in the smallest integer type that holds them.
    """
    x, mask = inputs if self._masked else (inputs, None)
    if mask is not None:
      mask = mask.reshape(x.shape[:2]).astype(bool)
    attend_rng, output_rng, hash_rng = jax.random.split(rng, 3)
    *inward, w_o = (w.astype(x.dtype) for w in weights)
    heads = [_to_heads(x, w) for w in inward]
    out, saved = self._attend(heads, mask, attend_rng, hash_rng, saved)
    out = _from_heads(out, w_o)
    return dropout_by_feature(out, self._output_dropout, output_rng), saved


def _head_weights(rng, n_heads, d_model, depth):
  """Glorot uniform over all heads, as Trax initialises them one by one."""
  limit = (6 / (d_model + depth * n_heads)) ** 0.5
  shape = (n_heads, d_model, depth)
  return jax.random.uniform(rng, shape, jnp.float32, -limit, limit)


def _to_heads(x, w):
  """[batch, length, d_model], [heads, d_model, depth] -> one array a head.

  As one product, and one transposition of its result: [batch, heads, length,
  depth].
  """
  heads, d_model, depth = w.shape
  y = linear(x, jnp.swapaxes(w, 0, 1).reshape(d_model, heads * depth))
  return jnp.swapaxes(y.reshape(x.shape[:2] + (heads, depth)), 1, 2)


def _from_heads(x, w):
  """Sum over heads of x [batch, heads, length, depth] @ w [heads, depth, d]."""
  batch, heads, length, depth = x.shape
  rows = jnp.swapaxes(x, 1, 2).reshape(batch, length, heads * depth)
  return linear(rows, w.reshape(heads * depth, -1))

"""Batches in parts."""

import jax
import jax.numpy as jnp
from trax.layers import base

from trax_reformer_ext.layers._common import check


class MicroBatches(base.Layer):
  """Runs a layer on equal parts of the batch, one part after another.

  Gradients of the parts add up; what the layer computes inside exists for one
  part at a time, at the price of one more forward pass. Parts have random keys
  of their own.
  """

  def __init__(self, layer, n_parts):
    super().__init__(n_in=layer.n_in, n_out=layer.n_out)
    self._n_parts = n_parts
    self._sublayers = (layer,)
    self._weights = (None,)
    self._state = (None,)

  def init_weights_and_state(self, input_signature):
    weights, state = self._sublayers[0].init(input_signature, use_cache=True)
    self.weights, self.state = (weights,), (state,)

  def forward(self, x):
    layer, n = self._sublayers[0], self._n_parts
    weights, state = self.weights[0], self.state[0]
    batch = jax.tree.leaves(x)[0].shape[0]
    check(
      batch % n == 0,
      f'n_micro_batches is {n}, but the batch has {batch} examples: '
      'give a divisor of the batch size',
    )
    split = lambda x: x.reshape((n, batch // n) + x.shape[1:])
    merge = lambda x: x.reshape((batch,) + x.shape[2:])
    run = jax.checkpoint(lambda x, rng: layer.pure_fn(x, weights, state, rng))
    parts = jax.tree.map(split, x), jax.random.split(self.rng, n)
    y, states = jax.lax.map(lambda part: run(*part), parts)
    self.state = (jax.tree.map(lambda s: jnp.asarray(s)[-1], states),)
    return jax.tree.map(merge, y)

"""ReformerLM with ordinary residual layers in place of reversible ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trax import layers as tl

from tests.models.helpers import init, shaken
from tests.models.test_reformer_lm_options import (
  LENGTH,
  LOCAL,
  SMALL,
  run,
  tokens_with,
  weights_of,
)
from tests.reference import assert_close
from trax_reformer_ext import ReversibleHalfResidual, SelfAttention

KEY = jax.random.PRNGKey(0)


def test_it_is_x_plus_f_of_x():
  model, halves = SMALL(reversible=False), SMALL()
  tokens = tokens_with(LENGTH)
  weights, state = init(halves, tokens.shape)
  weights = shaken(weights)
  # The reversible layers of the same weights, each given the one stream.
  x = tokens
  for layer, w, s in _flat(halves, weights, state):
    call = lambda *inputs, layer=layer, w=w, s=s: layer.pure_fn(
      inputs if len(inputs) > 1 else inputs[0], w, s, KEY
    )[0]
    if isinstance(layer, ReversibleHalfResidual):
      x, _ = call(x, x)
    elif layer.name not in ('Dup', 'ReversibleSwap'):
      x = call(*[x] * layer.n_in)
  assert_close(run(model, tokens, weights), x)


def test_weights_are_those_of_the_reversible_model():
  ours, reversible = (
    [np.shape(w) for w in jax.tree.leaves(weights_of(SMALL(reversible=r)))]
    for r in (False, True)
  )
  assert ours == reversible
  # And they do something else.
  tokens = tokens_with(LENGTH)
  weights = weights_of(SMALL())
  difference = run(SMALL(), tokens, weights) - run(
    SMALL(reversible=False), tokens, weights
  )
  assert np.abs(difference).max() > 1e-3


@pytest.mark.parametrize('mode', ['train', 'eval'])
def test_gradient_equals_finite_differences(mode):
  model = SMALL(
    reversible=False, attention_type=[LOCAL, SelfAttention], mode=mode
  )
  tokens = tokens_with(LENGTH)
  weights, state = init(model, tokens.shape)
  weights = shaken(weights)
  loss = jax.jit(
    lambda w: jnp.square(model.pure_fn(tokens, w, state, KEY)[0]).mean()
  )
  gradient = jax.jit(jax.grad(loss))(weights)
  rng = np.random.default_rng(1)
  way = jax.tree.map(lambda w: rng.normal(size=w.shape).astype('f'), weights)
  step = lambda h: loss(jax.tree.map(lambda w, d: w + h * d, weights, way))
  slope = (step(1e-3) - step(-1e-3)) / 2e-3
  along = jax.tree.map(lambda g, d: (g * d).sum(), gradient, way)
  assert_close(sum(jax.tree.leaves(along)), slope, 1e-2)


def _flat(layer, weights, state):
  """Layers in series, each with its weights and state."""
  if isinstance(layer, (tl.Serial, tl.ReversibleSerial)):
    parts = zip(layer.sublayers, weights, state, strict=True)
    return [x for part in parts for x in _flat(*part)]
  return [(layer, weights, state)]

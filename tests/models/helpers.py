"""What the tests of models share."""

import jax
import numpy as np
from trax.shapes import ShapeDtype


def init(model, shape, seed=0):
  """Weights and state of a model for tokens of a shape, in one program."""
  tokens = ShapeDtype(shape, np.int32)
  rng = jax.random.PRNGKey(seed)
  return jax.jit(lambda: model.init(tokens, rng=rng))()


def shapes_of(model, *shapes):
  """Shapes of the weights and state, without computing them."""
  tokens = tuple(ShapeDtype(shape, np.int32) for shape in shapes)
  tokens = tokens if len(tokens) > 1 else tokens[0]
  return jax.eval_shape(lambda: model.init(tokens))


def shaken(weights, scale=0.1):
  """Weights moved at random, so that no bias is 0 and no scale 1."""
  rng = np.random.default_rng(0)
  noise = lambda w: scale * rng.normal(size=w.shape).astype(w.dtype)
  return jax.tree.map(lambda w: np.asarray(w) + noise(w), weights)

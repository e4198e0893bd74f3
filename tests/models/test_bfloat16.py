"""Activations in bfloat16."""

import functools
import random
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.helpers import init, shaken
from tests.models.test_reformer_lm_options import LSH, SMALL, tokens_with
from trax_reformer_ext import Reformer, ReversibleSerial, SelfAttention
from trax_reformer_ext.errors import ReformerError

KEY = jax.random.PRNGKey(0)
TRANSLATOR = functools.partial(
  Reformer,
  13,
  d_model=8,
  d_ff=12,
  n_heads=2,
  n_encoder_layers=2,
  n_decoder_layers=2,
  dropout=0.0,
  max_len=32,
)
MODELS = {
  'slices': functools.partial(SMALL, ff_chunk_size=8),
  'reversible': SMALL,
  'stored': functools.partial(SMALL, store_activations_below=99),
  'ordinary': functools.partial(SMALL, reversible=False),
  'translation': TRANSLATOR,
}


def with_inputs(make, **options):
  """(model, its inputs, weights, state)."""
  model = make(mode='train', **options)
  tokens = tokens_with(16)
  inputs = tokens if model.n_in == 1 else (tokens[:, :12], tokens)
  shape = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype)
  weights, state = model.init(jax.tree.map(shape, inputs))
  rng = np.random.default_rng(0)
  draw = lambda w: rng.normal(size=w.shape).astype(np.float32) / 3
  return model, inputs, jax.tree.map(draw, weights), state


def loss_and_gradient(make, **options):
  model, inputs, weights, state = with_inputs(make, **options)

  def loss(weights):
    out, _ = model.pure_fn(inputs, weights, state, KEY)
    logits = out[0] if isinstance(out, tuple) else out
    assert logits.dtype == jnp.float32
    return jnp.square(logits).mean()

  value, gradient = jax.jit(jax.value_and_grad(loss))(weights)
  return value, jax.tree.leaves(gradient)


@pytest.mark.parametrize('name', MODELS)
def test_loss_and_gradient_are_close_to_those_of_float32(name):
  loss, gradient = loss_and_gradient(MODELS[name])
  rounded, rounded_gradient = loss_and_gradient(
    MODELS[name], activation_dtype='bfloat16'
  )
  assert 0 < abs(rounded - loss) < 0.01 * loss
  for a, b in zip(rounded_gradient, gradient, strict=True):
    assert a.dtype == b.dtype == np.float32
  flat, rounded_flat = (
    np.concatenate([np.ravel(g) for g in grads])
    for grads in (gradient, rounded_gradient)
  )
  cosine = flat @ rounded_flat / np.linalg.norm(flat)
  assert cosine / np.linalg.norm(rounded_flat) > 0.99


@pytest.mark.parametrize('name', MODELS)
def test_the_same_seed_gives_the_same_weights(name):
  def initial(**options):
    random.seed(0)
    model = MODELS[name](mode='train', **options)
    tokens = jax.ShapeDtypeStruct((2, 16), np.int32)
    inputs = tokens if model.n_in == 1 else (tokens, tokens)
    return jax.jit(lambda: model.init(inputs, rng=KEY))()[0]

  rounded = initial(activation_dtype='bfloat16')
  jax.tree.map(np.testing.assert_array_equal, rounded, initial())


def test_attention_and_feed_forward_multiply_bfloat16():
  make = functools.partial(SMALL, attention_type=[LSH, SelfAttention])
  model, inputs, weights, state = with_inputs(make, activation_dtype='bfloat16')
  loss = lambda w: model.pure_fn(inputs, w, state, KEY)[0].sum()
  said = str(jax.make_jaxpr(jax.grad(loss))(weights))
  products = re.findall(r':(\w+)\[[\d,]*\] = dot_general', said)
  assert products.count('bf16') > 10


def test_what_is_reconstructed_is_float32():
  model, _, weights, _ = with_inputs(SMALL, activation_dtype='bfloat16')
  model.weights = weights
  stack = _reversible(model)
  rng = np.random.default_rng(0)
  xs = tuple(rng.normal(size=(2, 16, 8)).astype(np.float32) for _ in range(2))
  inputs, reconstructed = stack.reconstructed(xs, KEY)
  for x, again in zip(inputs, reconstructed, strict=True):
    assert x.dtype == again.dtype == jnp.float32
    np.testing.assert_allclose(again, x, atol=1e-5)


@pytest.mark.parametrize(
  'options,message',
  [
    (
      dict(activation_dtype='float16'),
      r"ReformerLM.activation_dtype is 'float16': give 'float32' or 'bfloat16'",
    ),
    (
      dict(activation_dtype='bfloat16', ff_use_sru=1),
      "ReformerLM.activation_dtype is 'bfloat16' with ff_use_sru 1",
    ),
  ],
)
def test_mistakes(options, message):
  with pytest.raises(ReformerError, match=message):
    SMALL(**options)


def test_generation_goes_by_the_same_activations():
  """Cached steps stay close to a full pass of the same model."""
  options = dict(attention_type=[SelfAttention], activation_dtype='bfloat16')
  tokens = tokens_with(16)[:1]
  model = SMALL(mode='eval', **options)
  weights, state = init(model, tokens.shape)
  weights = shaken(weights)
  full, _ = model.pure_fn(tokens, weights, state, KEY)
  predict = SMALL(mode='predict', **options)
  _, state = init(predict, (1, 1))
  step = jax.jit(predict.pure_fn)
  shifted = np.pad(tokens, ((0, 0), (1, 0)))[:, :-1]
  outs = []
  for i in range(tokens.shape[1]):
    out, state = step(shifted[:, i : i + 1], weights, state, KEY)
    outs.append(out)
  np.testing.assert_allclose(np.concatenate(outs, 1), full, atol=0.05)


def _reversible(layer):
  """The reversible stack inside a model."""
  if isinstance(layer, ReversibleSerial):
    return layer
  return next(filter(None, map(_reversible, layer.sublayers)), None)

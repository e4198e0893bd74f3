"""Heads computed a few at a time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trax import layers as tl
from trax.shapes import ShapeDtype

from trax_reformer_ext import (
  EncDecAttention,
  LSHSelfAttention,
  ReformerError,
  ReversibleHalfResidual,
  ReversibleSerial,
  ReversibleSwap,
  SelfAttention,
)

D_MODEL, LENGTH = 16, 50
X = ShapeDtype((2, LENGTH, D_MODEL))
RNG = jax.random.PRNGKey(1)
MASK = np.arange(LENGTH) < np.array([[LENGTH], [31]])
COMMON = dict(n_heads=4, d_qk=6, d_v=4, output_dropout=0.2)
LAYERS = {
  'lsh': functools.partial(
    LSHSelfAttention,
    chunk_len=8,
    n_hashes=3,
    causal=True,
    attention_dropout=0.2,
    **COMMON,
  ),
  'masked_lsh': functools.partial(
    LSHSelfAttention, chunk_len=8, n_buckets=[2, 4], masked=True, **COMMON
  ),
  'local': functools.partial(
    SelfAttention, chunk_len=8, n_chunks_before=1, causal=True, **COMMON
  ),
  'full': functools.partial(SelfAttention, masked=True, **COMMON),
  'to_source': functools.partial(EncDecAttention, masked=True, **COMMON),
}


def arguments(name):
  """Inputs of a layer: floats, and what is no float."""
  normal = np.random.default_rng(0).normal
  x = lambda: normal(size=X.shape).astype(np.float32)
  if name == 'to_source':
    return (x(), x()), (MASK,)
  return (x(),), (MASK,) if name in ('masked_lsh', 'full') else ()


def output_and_gradients(name, n_parallel_heads):
  """(out, gradients of inputs and weights) of a layer on its own."""
  layer = LAYERS[name](n_parallel_heads=n_parallel_heads)
  floats, others = arguments(name)
  join = lambda floats: floats[0] if layer.n_in == 1 else (*floats, *others)
  weights, state = layer.init(jax.tree.map(_signature, join(floats)), rng=RNG)

  def value(floats, weights):
    out, _ = layer.pure_fn(join(floats), weights, state, RNG)
    return jnp.sum(jnp.sin(out)), out

  gradient = jax.jit(jax.grad(value, argnums=(0, 1), has_aux=True))
  return gradient(floats, weights)


def _signature(x):
  return ShapeDtype(x.shape, x.dtype)


@pytest.mark.parametrize('n_parallel_heads', [1, 2, 3])
@pytest.mark.parametrize('name', LAYERS)
def test_the_result_does_not_depend_on_how_many_at_once(name, n_parallel_heads):
  expected = output_and_gradients(name, 4)
  found = output_and_gradients(name, n_parallel_heads)
  close = functools.partial(np.testing.assert_allclose, atol=2e-5, rtol=1e-4)
  jax.tree.map(close, found, expected)


def gradients_of_stack(name, n_parallel_heads, length=LENGTH):
  """The function of (x, weights) -> gradients of a reversible stack."""
  attention = LAYERS[name](n_parallel_heads=n_parallel_heads)
  half = lambda: ReversibleHalfResidual(
    tl.LayerNorm(), attention_layer=attention
  )
  stack = ReversibleSerial(half(), ReversibleSwap(), half(), ReversibleSwap())
  signature = ShapeDtype((2, length, D_MODEL))
  weights, state = stack.init((signature, signature), rng=RNG)

  def value(x, weights):
    out, _ = stack.pure_fn((x, x), weights, state, RNG)
    return jnp.sum(jnp.sin(out[0]) + out[1])

  return jax.jit(jax.grad(value, argnums=(0, 1))), weights


@pytest.mark.parametrize('name', ['lsh', 'local'])
def test_gradients_of_a_reversible_stack_do_not_depend_on_it_either(name):
  (x,), _ = arguments(name)
  expected, weights = gradients_of_stack(name, 4)
  found, _ = gradients_of_stack(name, 1)
  close = functools.partial(np.testing.assert_allclose, atol=1e-4, rtol=1e-3)
  jax.tree.map(close, found(x, weights), expected(x, weights))


def test_fewer_heads_at_once_need_less_memory():
  def temporary_bytes(n_parallel_heads):
    length = 16384
    gradient, weights = gradients_of_stack('local', n_parallel_heads, length)
    x = ShapeDtype((2, length, D_MODEL))
    x = jax.ShapeDtypeStruct(x.shape, x.dtype)
    compiled = gradient.lower(x, weights).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert temporary_bytes(1) < 0.8 * temporary_bytes(4)


@pytest.mark.parametrize('n', [0, -1, 1.5])
def test_mistakes_are_named(n):
  message = f'n_parallel_heads is {n}: give an int of at least 1, or None'
  for layer in LAYERS.values():
    with pytest.raises(ReformerError, match=message):
      layer(n_parallel_heads=n)

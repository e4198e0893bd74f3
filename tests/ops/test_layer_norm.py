"""Layer normalisation: values and gradients beside Trax's, differentiated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trax import layers as tl
from trax import shapes

from trax_reformer_ext.layers.normalisation import LayerNorm
from trax_reformer_ext.ops.layer_norm import layer_norm


def random_arrays(shape, seed=0):
  """x far from centred, scale, bias, gradient of the output."""
  rng = np.random.default_rng(seed)
  x = 3 * rng.normal(size=shape) + rng.normal(size=shape[:-1] + (1,))
  scale, bias = rng.normal(size=(2, shape[-1]))
  d_y = rng.normal(size=shape)
  return tuple(np.float32(a) for a in (x, scale, bias, d_y))


def values_and_gradients(norm, x, scale, bias, d_y):
  y, vjp = jax.vjp(norm, x, scale, bias)
  return y, *vjp(d_y.astype(y.dtype))


def of_trax(center, epsilon=1e-6):
  layer = tl.LayerNorm(center=center, epsilon=epsilon)
  return lambda x, scale, bias: layer.pure_fn(x, (scale, bias), (), None)[0]


@settings(max_examples=15, deadline=None)
@given(
  shape=st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple),
  epsilon=st.sampled_from([1e-6, 1e-3]),
  center=st.booleans(),
)
def test_values_and_gradients_are_those_of_trax(shape, epsilon, center):
  arrays = random_arrays((*shape, 24))
  ours = lambda *args: layer_norm(*args, epsilon, center)
  found = values_and_gradients(ours, *arrays)
  expected = values_and_gradients(of_trax(center, epsilon), *arrays)
  for a, b in zip(found, expected, strict=True):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize('center', [True, False])
def test_gradients_are_as_exact_as_plain_ones(center):
  arrays = random_arrays((512, 768))
  with jax.enable_x64(True):
    exact = values_and_gradients(
      of_trax(center), *(np.float64(a) for a in arrays)
    )
  ours = values_and_gradients(lambda *x: layer_norm(*x, 1e-6, center), *arrays)
  plain = values_and_gradients(of_trax(center), *arrays)
  for e, a, b in zip(exact, ours, plain, strict=True):
    error = lambda x, e=e: np.abs(np.float64(x) - e).max()
    assert error(a) <= 3 * error(b) + 1e-7


def test_a_constant_row_has_finite_gradients():
  x, scale, bias, d_y = random_arrays((3, 16))
  x[1] = 5.0
  results = values_and_gradients(
    lambda *a: layer_norm(*a, 1e-6), x, scale, bias, d_y
  )
  assert all(np.isfinite(r).all() for r in results)


def test_bfloat16_is_normalised_in_float32():
  arrays = random_arrays((64, 256))
  expected = values_and_gradients(of_trax(True), *arrays)
  low = [jnp.asarray(a, jnp.bfloat16) for a in arrays]
  found = values_and_gradients(lambda *a: layer_norm(*a, 1e-6), *low)
  for a, b in zip(found, expected, strict=True):
    assert a.dtype == jnp.bfloat16
    error = np.abs(np.float32(a) - b).max()
    assert error < 0.03 * np.abs(b).max()


def test_the_layer_has_weights_and_name_of_trax():
  x = random_arrays((2, 5, 8))[0]
  layer, trax_layer = LayerNorm(), tl.LayerNorm()
  weights, state = layer.init(shapes.signature(x))
  expected, _ = trax_layer.init(shapes.signature(x))
  assert str(layer) == str(trax_layer) and state == ()
  for a, b in zip(weights, expected, strict=True):
    np.testing.assert_array_equal(a, b)
  np.testing.assert_allclose(layer(x), trax_layer(x), rtol=1e-5, atol=1e-5)

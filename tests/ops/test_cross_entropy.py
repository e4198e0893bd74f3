import jax
import jax.numpy as jnp
import numpy as np

from tests.reference import assert_close
from trax_reformer_ext.ops.cross_entropy import (
  chunked_cross_entropy,
  map_logits,
)


def make_case(scale=1):
  rng = np.random.default_rng(0)
  normal = lambda *shape: scale * rng.normal(size=shape).astype('float32')
  targets = rng.integers(0, 9, (3, 2, 4), np.int32)
  weights = rng.random((3, 2, 4)).astype('float32')
  weights[2, 1] = 0
  return normal(3, 2, 4, 5), normal(5, 9), normal(9), targets, weights


def plain(x, kernel, bias, targets, weights):
  log_p = jax.nn.log_softmax(x @ kernel + bias)
  of_target = jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
  return -jnp.sum(weights * of_target)


def gradients(fn, case):
  # A factor, as the mean over the batch and micro-batches have.
  scaled = lambda *args: 0.3 * fn(*args)
  return jax.jit(jax.value_and_grad(scaled, argnums=(0, 1, 2, 4)))(*case)


def test_value_and_gradients_are_those_of_plain_autodiff():
  case = make_case()
  actual, expected = (
    jax.tree.leaves(gradients(fn, case))
    for fn in (chunked_cross_entropy, plain)
  )
  for a, e in zip(actual, expected, strict=True):
    assert_close(a, e, 1e-5)
  assert not np.asarray(actual[1])[2, 1].any()  # nothing where weights are 0


def test_the_value_alone_is_the_same():
  case = make_case()
  assert_close(jax.jit(chunked_cross_entropy)(*case), plain(*case), 1e-5)


def test_large_logits_do_not_overflow():
  for leaf in jax.tree.leaves(gradients(chunked_cross_entropy, make_case(50))):
    assert np.isfinite(leaf).all()


def test_bfloat16_inputs_keep_a_float32_sum():
  x, kernel, *rest = make_case()
  half = lambda x: jnp.asarray(x, jnp.bfloat16)
  value, grads = gradients(
    chunked_cross_entropy, (half(x), half(kernel), *rest)
  )
  assert value.dtype == jnp.float32
  assert grads[0].dtype == grads[1].dtype == jnp.bfloat16
  expected, exact = gradients(plain, (x, kernel, *rest))
  assert_close(value, expected, 0.02)
  for g, e in zip(grads, exact, strict=True):
    assert_close(g, e, 0.05)


def test_map_logits_gives_every_slice_to_the_function():
  x, kernel, bias, targets, _ = make_case()
  best = map_logits(
    lambda logits, targets: logits.argmax(axis=-1) == targets,
    *(x, kernel, bias, targets),
  )
  expected = (x @ kernel + bias).argmax(axis=-1) == targets
  np.testing.assert_array_equal(best, expected)

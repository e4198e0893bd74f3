import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference import assert_close
from trax_reformer_ext.ops.reversible import reversible_scan, stored_scan

N_BLOCKS = 5


def residual(x, weights, shift, keep):
  return jnp.tanh(x @ weights + shift) * keep[:, None]


def forward(xs, weights, aux):
  """y1 = x1 + f(x2), y2 = x2 + g(y1); an integer mask travels along."""
  x1, x2, keep = xs
  y1 = x1 + residual(x2, weights[0], aux, keep)
  y2 = x2 + residual(y1, weights[1], aux, keep)
  return (y1, y2, keep), jnp.sum(y1), aux


def reverse(xs, d_xs, weights, aux, saved):
  y1, y2, keep = xs
  d1, d2, d_keep = d_xs
  assert d_keep is None  # integers have no gradient
  g, vjp = jax.vjp(lambda y, w: residual(y, w, saved, keep), y1, weights[1])
  d_y, d_w1 = vjp(d2)
  x2, d1 = y2 - g, d1 + d_y
  f, vjp = jax.vjp(lambda x, w: residual(x, w, saved, keep), x2, weights[0])
  d_x, d_w0 = vjp(d1)
  return (y1 - f, x2, keep), (d1, d2 + d_x, None), (d_w0, d_w1)


def make_case():
  rng = np.random.default_rng(0)
  normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  weights = 0.4 * normal(N_BLOCKS, 6, 6), 0.4 * normal(N_BLOCKS, 6, 6)
  keep = jnp.asarray([1, 0, 1, 1], jnp.int32)
  return (normal(4, 6), normal(4, 6)), keep, weights, normal(N_BLOCKS)


def gradients(scan):
  xs, keep, weights, aux = make_case()

  @jax.jit
  def both(xs, weights):
    def loss(xs, weights):
      (y1, y2, _), outs = scan((*xs, keep), weights, aux)
      return jnp.sum(jnp.sin(y1) * y2), (y1, y2, outs)

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(xs, weights)

  return both(xs, weights)


@pytest.fixture(scope='module')
def unrolled():
  def scan(xs, weights, aux):
    outs = []
    for i in range(N_BLOCKS):
      xs, out, _ = forward(xs, (weights[0][i], weights[1][i]), aux[i])
      outs.append(out)
    return xs, jnp.stack(outs)

  return gradients(scan)


def test_reversible_scan_equals_unrolled_autodiff(unrolled):
  scan = lambda *args: reversible_scan(forward, reverse, *args)
  check_equal(gradients(scan), unrolled)


def test_stored_scan_equals_unrolled_autodiff(unrolled):
  check_equal(gradients(lambda *args: stored_scan(forward, *args)), unrolled)


def check_equal(actual, expected):
  for a, e in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    assert_close(a, e, 1e-5)


def test_activations_are_kept_only_by_the_stored_scan():
  big = jax.ShapeDtypeStruct((4096, 6), jnp.float32)
  weights = jax.ShapeDtypeStruct((32, 6, 6), jnp.float32)
  keep = jnp.ones(4096, jnp.int32)
  aux = jnp.zeros(32)

  def memory(scan):
    def loss(x1, x2, w0, w1):
      return jnp.sum(scan((x1, x2, keep), (w0, w1), aux)[0][0])

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3)))
    compiled = gradient.lower(big, big, weights, weights).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  of_reversible = memory(lambda *args: reversible_scan(forward, reverse, *args))
  of_stored = memory(lambda *args: stored_scan(forward, *args))
  assert of_stored > 32 * 4 * big.size
  assert of_reversible < of_stored / 3

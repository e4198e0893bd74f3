import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trax import layers as tl
from trax import shapes
from trax.models.research import configurable_transformer as ct

from tests.reference import assert_close
from trax_reformer_ext import ChunkedDense, ChunkedFeedForward, ReformerError
from trax_reformer_ext.layers import Chunked

D_MODEL, D_FF = 6, 10


def make_inputs(length):
  rng = np.random.default_rng(0)
  return rng.normal(size=(2, length, D_MODEL)).astype('float32')


def results(layer, x, weights=None, seed=0):
  """Weights, output and gradients of a layer; the same weights if given."""
  signature = jax.tree.map(lambda x: jax.eval_shape(jnp.asarray, x), x)
  like, state = layer.init(signature)
  if weights is None:
    rng = np.random.default_rng(1)
    weights = [
      rng.normal(size=w.shape).astype('float32') for w in jax.tree.leaves(like)
    ]
  tree = jax.tree.structure(like)

  @jax.jit
  def both(x, leaves):
    rng = jax.random.PRNGKey(seed)
    run = lambda x, leaves: layer.pure_fn(
      x, jax.tree.unflatten(tree, leaves), state, rng
    )[0]
    y, vjp = jax.vjp(run, x, leaves)
    return y, vjp(jnp.cos(y))

  return weights, jax.tree.leaves(both(x, weights))


def check_equal(ours, expected, length):
  x = make_inputs(length)
  weights, actual = results(ours, x)
  for a, e in zip(actual, results(expected, x, weights)[1], strict=True):
    assert_close(a, e, 1e-5)


@pytest.mark.parametrize('chunk_size,length', [(0, 7), (3, 7), (4, 8), (9, 7)])
def test_dense_equals_trax(chunk_size, length):
  check_equal(ChunkedDense(5, chunk_size), tl.Dense(5), length)


@pytest.mark.parametrize('chunk_size,length', [(0, 7), (3, 7), (4, 8)])
def test_feed_forward_equals_trax(chunk_size, length):
  of_trax = ct.FeedForwardWithOptions(
    D_MODEL, D_FF, 0.0, [-2], tl.FastGelu, 0.0, 0, 0, 0, True, 'train'
  )
  ours = ChunkedFeedForward(D_MODEL, D_FF, chunk_size=chunk_size)
  check_equal(ours, tl.Serial(of_trax), length)


@pytest.mark.parametrize('chunk_size', [3, 4])
def test_layers_of_several_inputs_equal_themselves_in_slices(chunk_size):
  layer = lambda: tl.Serial(tl.Concatenate(), tl.LayerNorm(), tl.Dense(4))
  xs = make_inputs(8), 2 + make_inputs(8)[..., :3]
  weights, expected = results(layer(), xs)
  _, actual = results(Chunked(layer(), chunk_size), xs, weights)
  for a, e in zip(actual, expected, strict=True):
    assert_close(a, e, 1e-5)


@pytest.mark.parametrize('chunk_size', [0, 3])
def test_output_and_gradients_in_one_evaluation(chunk_size):
  layer = ChunkedFeedForward(D_MODEL, D_FF, chunk_size=chunk_size, dropout=0.3)
  x = make_inputs(7)
  leaves, expected = results(layer, x, seed=3)
  like, state = layer.init(jax.eval_shape(jnp.asarray, x))
  weights = jax.tree.unflatten(jax.tree.structure(like), leaves)
  actual = jax.jit(layer.forward_and_backward)(
    x, np.cos(expected[0]), weights, state, jax.random.PRNGKey(3)
  )
  for a, e in zip(jax.tree.leaves(actual), expected, strict=True):
    assert_close(a, e, 1e-5)


def test_dropout_is_the_same_with_and_without_slices():
  make = lambda chunk_size: ChunkedFeedForward(
    D_MODEL, D_FF, chunk_size=chunk_size, dropout=0.5
  )
  x = make_inputs(7)
  weights, whole = results(make(0), x, seed=1)
  _, sliced = results(make(3), x, weights, seed=1)
  _, other = results(make(0), x, weights, seed=2)
  assert_close(sliced[0], whole[0], 1e-5)
  assert np.abs(other[0] - whole[0]).max() > 0.1


@pytest.mark.parametrize('chunk_size', [-1, 2.5])
def test_a_chunk_size_that_cannot_be_is_named(chunk_size):
  with pytest.raises(ReformerError, match=f'chunk_size is {chunk_size}'):
    ChunkedDense(5, chunk_size)


def test_a_layers_own_weights_keep_their_dtype():
  """What is not told to round its matrices gets them as they are."""
  seen = []

  class Own(tl.Dense):
    def forward(self, x):
      seen.append(self.weights[0].dtype)
      return super().forward(x)

  layer = Chunked(Own(3, use_bfloat16=True), 2)
  x = np.ones((1, 4, 3), np.float32)
  layer.init(shapes.signature(x))
  layer(x)
  assert seen and set(seen) == {jnp.bfloat16.dtype}

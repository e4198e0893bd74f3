import jax
import jax.numpy as jnp
import numpy as np

from tests.layers.test_reversible import X, blocks, init
from tests.visualize.reading import legend_of, texts_of
from trax_reformer_ext import ReversibleSerial
from trax_reformer_ext.visualize import (
  plot_reversibility,
  reconstruction_errors,
)

N_BLOCKS = 3


def errors(dtype):
  layer = ReversibleSerial(*blocks(N_BLOCKS), n_repeats=N_BLOCKS)
  layer.weights, layer.state = init(layer)
  rng = np.random.default_rng(0)
  xs = tuple(jnp.asarray(rng.normal(size=X.shape), dtype) for _ in range(2))
  return reconstruction_errors(layer, xs, jax.random.PRNGKey(0))


def test_errors_are_those_of_the_type_and_grow_with_depth():
  single, half = errors(jnp.float32), errors(jnp.bfloat16)
  assert single.shape == half.shape == (X.shape[0], N_BLOCKS)
  for found, unit in ((single, 2.0**-24), (half, 2.0**-9)):
    assert (found[:, 0] > 0).all()
    assert (found[:, -1] > found[:, 0]).all()
    assert (found[:, 0] < 20 * unit).all()
  assert (half > 1000 * single).all()


def test_the_picture_has_a_curve_for_each_type():
  found = dict(
    bfloat16=np.array([[1e-3, 4e-3], [3e-3, 8e-3], [2e-3, 9e-3]]),
    float32=np.array([[1e-7, 4e-7], [3e-7, 8e-7], [2e-7, 9e-7]]),
  )
  figure = plot_reversibility(found)
  axes = figure.axes[-1]
  assert legend_of(axes) == ['bfloat16', 'float32']
  assert axes.get_yscale() == 'log'
  assert axes.get_xlabel() == 'blocks walked back'
  assert "relative error |x' - x| / |x|" in texts_of(figure)
  for line, want in zip(axes.lines, found.values(), strict=True):
    medians = [[1, np.median(want[:, 0])], [2, np.median(want[:, 1])]]
    np.testing.assert_allclose(line.get_xydata(), medians)
  assert {'Attention', 'Feed-\nForward'} <= set(texts_of(figure))

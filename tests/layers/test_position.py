import jax
import numpy as np
import pytest
from trax import layers as tl
from trax.shapes import ShapeDtype

from trax_reformer_ext import AxialPositionalEncoding, ReformerError
from trax_reformer_ext.layers import (
  PositionalEncoding,
  SinusoidalInitializer,
)

SHAPE, D_EMBS = (4, 2, 3), (3, 1, 2)


def init(layer, length=24):
  return layer.init(ShapeDtype((2, length, 6)), rng=jax.random.PRNGKey(0))


def applied(layer, weights):
  rng = jax.random.PRNGKey(0)
  return jax.jit(lambda x: layer.pure_fn(x, weights, (), rng)[0])


def make_inputs(length):
  rng = np.random.default_rng(0)
  return rng.normal(size=(2, length, 6)).astype('float32')


def test_axial_encoding_equals_trax_at_full_length():
  ours = AxialPositionalEncoding(SHAPE, D_EMBS)
  of_trax = tl.AxialPositionalEncoding(SHAPE, D_EMBS)
  weights, _ = init(of_trax)
  mine, _ = init(ours)
  assert [w.shape for w in mine] == [w.shape for w in weights]
  x = make_inputs(24)
  np.testing.assert_allclose(
    applied(ours, weights)(x), applied(of_trax, weights)(x), atol=1e-6
  )


@pytest.mark.parametrize('length', [1, 5, 6, 23])
def test_shorter_inputs_get_the_first_encodings(length):
  layer = AxialPositionalEncoding(SHAPE, D_EMBS)
  weights, _ = init(layer)
  apply = applied(layer, weights)
  whole = apply(np.zeros((2, 24, 6), np.float32))
  assert len(np.unique(np.round(whole[0], 4), axis=0)) == 24
  x = make_inputs(length)
  np.testing.assert_allclose(apply(x), x + whole[:, :length], atol=1e-6)


@pytest.mark.parametrize('shared', [(), (1, 2, 3)])
def test_dropout_of_the_encoding_is_for_training(shared):
  make = lambda mode: AxialPositionalEncoding(
    SHAPE, D_EMBS, dropout=0.5, dropout_broadcast_dims=shared, mode=mode
  )
  layer = make('train')
  weights, _ = init(layer)
  zeros = np.zeros((2, 20, 6), np.float32)
  dropped = np.asarray(applied(layer, weights)(zeros))
  plain = np.asarray(applied(make('eval'), weights)(zeros))
  kept = dropped != 0
  np.testing.assert_allclose(dropped[kept], 2 * plain[kept], rtol=1e-6)
  assert 0 < kept.mean() < 1
  whole_features = (kept == kept[:, :1]).all()
  assert whole_features == bool(shared)


@pytest.mark.parametrize(
  'shape,d_embs,message',
  [
    ((4, 2), (3, 1, 2), r'pos_axial_shape is \(4, 2\)'),
    ((4, 0), (3, 3), r'pos_axial_shape is \(4, 0\)'),
  ],
)
def test_axes_that_do_not_match_are_refused(shape, d_embs, message):
  with pytest.raises(ReformerError, match=message):
    AxialPositionalEncoding(shape, d_embs)


@pytest.mark.parametrize(
  'layer,message',
  [
    (AxialPositionalEncoding((4, 2), (3, 3)), r'\(4, 2\).*has 24'),
    (AxialPositionalEncoding((4, 6), (3, 2)), r'sum 5.*d_model, 6'),
    (PositionalEncoding(max_len=23), 'max_len is 23.*has 24'),
  ],
)
def test_inputs_that_do_not_fit_are_told_the_limit(layer, message):
  with pytest.raises(tl.base.LayerError, match=f'(?s){message}'):
    weights, _ = init(layer)
    applied(layer, weights)(make_inputs(24))


def test_learned_encoding_equals_trax():
  ours, of_trax = PositionalEncoding(max_len=30), tl.PositionalEncoding(30)
  x = make_inputs(24)
  weights, state = init(of_trax)
  rng = jax.random.PRNGKey(0)
  init(ours)
  expected, _ = of_trax.pure_fn(x, weights, state, rng)
  np.testing.assert_array_equal(
    ours.pure_fn(x, weights, state, rng)[0], expected
  )


def test_sinusoidal_initial_positions_are_like_their_neighbours():
  initialise = SinusoidalInitializer(stddev=0.05)
  layer = AxialPositionalEncoding((8, 4), (16, 32), initialise)
  weights, _ = layer.init(ShapeDtype((1, 32, 48)))
  assert [w.shape for w in weights] == [(1, 8, 1, 16), (1, 1, 4, 32)]
  rows = np.asarray(weights[0])[0, :, 0]
  np.testing.assert_allclose(np.sqrt((rows**2).mean(axis=1)), 0.05, rtol=1e-5)
  likeness = rows @ rows[0]
  assert (np.diff(likeness[:3]) < 0).all()
  # A shift changes nothing: what attention learns of a distance holds for all.
  np.testing.assert_allclose(rows[1:] @ rows[1], likeness[:7], rtol=1e-5)


@pytest.mark.parametrize(
  'options,depth,message',
  [
    (dict(shortest=0.0), 4, 'SinusoidalInitializer.shortest is 0.0 and'),
    (dict(shortest=9.0, longest=8.0), 4, 'longest is 8.0: give positive'),
    ({}, 3, 'depth 3: give an even depth in pos_d_axial_embs'),
  ],
)
def test_sinusoidal_mistakes_are_named(options, depth, message):
  with pytest.raises(ReformerError, match=message):
    SinusoidalInitializer(**options)((5, depth), None)

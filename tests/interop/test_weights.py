"""Names of weights."""

import jax
import numpy as np
import pytest

from tests.interop.small import described, tokens
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.interop import build
from trax_reformer_ext.interop.weights import (
  as_float32,
  check,
  name_flat,
  names_of,
  set_weights,
  shapes_of,
)


def test_names_and_shapes_of_a_language_model():
  """Written down, since files depend on them."""
  assert shapes_of(described(n_layers=2, loss_chunk_size=4)) == {
    'embedding': (13, 8),
    'positions.0': (1, 4, 1, 3),
    'positions.1': (1, 1, 8, 5),
    'layers.0.attention.norm.scale': (8,),
    'layers.0.attention.norm.bias': (8,),
    'layers.0.attention.w_q': (2, 8, 4),
    'layers.0.attention.w_k': (2, 8, 4),
    'layers.0.attention.w_v': (2, 8, 4),
    'layers.0.attention.w_o': (2, 4, 8),
    'layers.0.feed_forward.norm.scale': (8,),
    'layers.0.feed_forward.norm.bias': (8,),
    'layers.0.feed_forward.dense.kernel': (8, 12),
    'layers.0.feed_forward.dense.bias': (12,),
    'layers.0.feed_forward.dense_2.kernel': (12, 8),
    'layers.0.feed_forward.dense_2.bias': (8,),
    'layers.1.attention.norm.scale': (8,),
    'layers.1.attention.norm.bias': (8,),
    'layers.1.attention.w_q': (2, 8, 4),
    'layers.1.attention.w_v': (2, 8, 4),
    'layers.1.attention.w_o': (2, 4, 8),
    'layers.1.feed_forward.norm.scale': (8,),
    'layers.1.feed_forward.norm.bias': (8,),
    'layers.1.feed_forward.dense.kernel': (8, 12),
    'layers.1.feed_forward.dense.bias': (12,),
    'layers.1.feed_forward.dense_2.kernel': (12, 8),
    'layers.1.feed_forward.dense_2.bias': (8,),
    'norm.scale': (16,),
    'norm.bias': (16,),
    'projection.kernel': (16, 13),
    'projection.bias': (13,),
  }


def test_names_of_an_encoder_decoder():
  names = list(shapes_of(described('Reformer')))
  assert len(set(names)) == len(names)
  for name in (
    'embedding',
    'embedding_2',
    'encoder.0.attention.w_q',
    'decoder.1.source_attention.w_k',
    'decoder.1.feed_forward.dense_2.kernel',
    'norm_2.scale',
    'projection.kernel',
  ):
    assert name in names
  shared = shapes_of(described('Reformer', output_vocab_size=None))
  assert 'embedding_2' not in shared


@pytest.mark.parametrize(
  'arguments',
  [
    dict(n_micro_batches=2, padding_id=0),
    dict(loss_chunk_size=4),
    dict(ff_use_sru=1),
    dict(pos_axial_shape=[], pos_type='sin-cos'),
    dict(loss_sparsity=13, loss_sparsity_type='mult', vocab_size=16),
  ],
)
def test_names_are_those_of_the_initialised_model(arguments):
  if 'loss_sparsity' in arguments:
    arguments = arguments | dict(loss_sparsity=2)
  description = described(**arguments)
  model = build(description)
  model.init(jax.ShapeDtypeStruct((2, 8), np.int32))
  names = names_of(model)
  assert names == list(description.weights)
  assert len(set(names)) == len(names)
  set_weights(model, description.weights, 'it')
  out = model(tokens())
  assert np.isfinite(out[0] if isinstance(out, tuple) else out).all()


def test_all_faults_are_listed_at_once_in_one_line():
  wanted = {'a': (2, 3), 'b': (4,), 'c': (5,), 'd': (6,)}
  found = {'a': (3, 2), 'c': (1,), 'd': (6,), 'x': (1,), 'y': ()}
  with pytest.raises(ReformerError) as error:
    check(found, wanted, 'it')
  assert str(error.value).startswith(
    'it does not hold the weights of the model (missing: b; not of the model: '
    'x, y; of another shape: a (3, 2), where the model has (2, 3), c (1,), '
    'where the model has (5,))'
  )


def test_flat_weights_in_another_number():
  arrays = [np.zeros(2, np.float32), np.zeros(3, np.float32)]
  wanted = {'a': (2,)}
  with pytest.raises(ReformerError, match='not of the model: weight 1'):
    name_flat(arrays, wanted, 'it')
  with pytest.raises(ReformerError, match='missing: a'):
    name_flat([], wanted, 'it')
  assert list(name_flat(arrays[:1], wanted, 'it')) == ['a']


@pytest.mark.parametrize('dtype', ['float16', 'float64', 'bfloat16'])
def test_other_floats_become_float32(dtype):
  array = np.asarray(jax.numpy.arange(3), 'float32').astype(dtype)
  assert as_float32(array, 'a', 'it').dtype == np.float32


@pytest.mark.parametrize('dtype', ['int32', '<U3', 'V2'])
def test_what_is_no_float_is_refused(dtype):
  array = np.zeros(2, dtype)
  with pytest.raises(ReformerError, match='it has .* in a: weights are float'):
    as_float32(array, 'a', 'it')

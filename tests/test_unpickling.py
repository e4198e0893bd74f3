"""Pickles of strangers are read as data, or not at all."""

import collections
import gzip
import io
import os
import pickle

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trax.shapes import ShapeDtype
from trax.supervised import training
from trax.supervised.history import History

from trax_reformer_ext import unpickling
from trax_reformer_ext.errors import ReformerError


class Payload:
  """Runs a function when a plain pickle.load meets it."""

  def __init__(self, function, *arguments):
    self.call = function, arguments

  def __reduce__(self):
    return self.call


def load(content):
  return unpickling.load(io.BytesIO(content))


@pytest.mark.parametrize('protocol', range(2, 6))
def test_what_traxs_checkpoints_hold(protocol):
  stored = {
    'step': 7,
    'arrays': [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.eye(3))],
    'small': (
      np.float32(2),
      np.bool_(True),
      np.dtype('int32'),
      None,
      'a',
      b'b',
    ),
    'half': np.ones(3, ml_dtypes.bfloat16),
    'jax': jnp.arange(4),
    'shape': ShapeDtype((2, 3), np.int32),
    'ordered': collections.OrderedDict(a={1, 2}),
    'history': History(),
  }
  stored['history'].append('train', 'loss', 3, 4.5)
  found = load(pickle.dumps(stored, protocol))
  assert found.keys() == stored.keys() and found['step'] == 7
  for a, b in zip(found['arrays'], stored['arrays'], strict=True):
    np.testing.assert_array_equal(a, b)
  assert found['small'] == stored['small']
  assert found['half'].dtype == ml_dtypes.bfloat16
  assert isinstance(found['jax'], np.ndarray)
  np.testing.assert_array_equal(found['jax'], np.arange(4))
  assert found['shape'].shape == (2, 3)
  assert found['ordered'] == stored['ordered']
  assert found['history'].get('train', 'loss') == [(3, 4.5)]


@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize('hidden', [False, True], ids=['plain', 'in a dict'])
def test_no_code_runs(tmp_path, protocol, hidden):
  victim = tmp_path / 'created'
  calls = [
    Payload(os.mkdir, str(victim)),
    Payload(exec, f'open({str(victim)!r}, "w")'),
    Payload(getattr, 'text', 'format'),
    Payload(np.fromfile, str(tmp_path)),
    Payload(eval, '1'),
  ]
  for call in calls:
    content = pickle.dumps({'weights': [call]} if hidden else call, protocol)
    with pytest.raises(
      ReformerError, match=r'a pickle that would run \w+\.\w+'
    ):
      load(content)
    assert not victim.exists()


def test_a_checkpoint_of_traxs_with_code_is_refused(tmp_path):
  victim = tmp_path / 'created'
  path = tmp_path / 'model.pkl.gz'
  with gzip.open(path, 'wb') as f:
    pickle.dump({'step': Payload(os.mkdir, str(victim))}, f)
  with pytest.raises(ReformerError, match='would run posix.mkdir: only arrays'):
    training.unpickle_from_file(str(path), gzip=True)
  assert not victim.exists()


@given(st.binary(max_size=200))
def test_what_is_no_pickle(content):
  try:
    load(content)
  except ReformerError as e:
    assert str(e).startswith('the file ') and '\n' not in str(e)


def test_a_pickle_that_is_cut_off():
  whole = pickle.dumps({'weights': [np.ones(100)]})
  with pytest.raises(ReformerError, match='the file cannot be read .* damaged'):
    load(whole[:-20])


def test_an_array_of_objects_is_no_way_in(tmp_path):
  victim = tmp_path / 'created'
  array = np.array([Payload(os.mkdir, str(victim))], dtype=object)
  with pytest.raises(ReformerError, match='would run'):
    load(pickle.dumps(array))
  assert not victim.exists()

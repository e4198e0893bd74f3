"""Unpickling that builds data and never runs code.

A pickle names the functions that build its objects, and loading it calls them:
a file from a stranger may name any. Here the arrays, dtypes and containers of
Trax's checkpoints can be named and nothing else.
"""

import collections
import importlib
import pickle

import numpy as np

from trax_reformer_ext.errors import ReformerError

_NUMPY = ('numpy.core.multiarray', 'numpy._core.multiarray')
_JAX_ARRAYS = (
  ('jax._src.array', '_reconstruct_array'),
  ('jax._src.device_array', 'reconstruct_device_array'),
)


def load(file):
  """Reads one object from a pickle of numbers, strings, containers and arrays.

  Arrays of JAX come as arrays of numpy.

  Args:
    file: binary file, open for reading.

  Raises:
    ReformerError: the pickle names anything else, or is damaged.
  """
  try:
    return _Unpickler(file).load()
  except ReformerError:
    raise
  except Exception as e:  # a damaged pickle may raise nearly any
    reason = ' '.join([f'{type(e).__name__}:', *str(e).split()])
    raise ReformerError(
      f'{_name(file)} cannot be read ({reason}): it is damaged, or no pickle'
    ) from e


class _Unpickler(pickle.Unpickler):
  def __init__(self, file):
    super().__init__(file)
    self._name = _name(file)

  def find_class(self, module, name):
    if (module, name) in _ALLOWED:
      return _ALLOWED[module, name]
    if (module, name) in _OF_TRAX:
      return getattr(importlib.import_module(module), name)
    if module == 'numpy' and name in _SCALARS:
      return getattr(np, name)
    if module == 'numpy.dtypes' and name.endswith('DType'):
      return getattr(np.dtypes, name)
    raise ReformerError(
      f'{self._name} is a pickle that would run {module}.{name}: only arrays, '
      'dtypes, containers, numbers and strings are read'
    )


def _array(subtype, shape, dtype):
  """numpy's _reconstruct, for plain arrays alone."""
  del subtype
  return np.ndarray(shape, dtype)


def _encode(text, encoding):
  """Bytes, as protocols before 3 have them."""
  del encoding  # always latin1
  return text.encode('latin-1')


def _scalar(dtype, value):
  return np.frombuffer(value, dtype)[0]


def _from_buffer(buffer, dtype, shape, order):
  return np.frombuffer(buffer, dtype).reshape(shape, order=order).copy()


def _jax_array(make, arguments, state, *aval):
  """An array of JAX, which is pickled as what makes its values in numpy."""
  del make, aval
  array = _array(*arguments)
  array.__setstate__(state)
  return array


def _float8_and_bfloat16():
  import ml_dtypes

  names = ('bfloat16', 'float8_e4m3fn', 'float8_e5m2')
  return {('ml_dtypes', name): getattr(ml_dtypes, name) for name in names}


# Classes of values alone.
_OF_TRAX = (
  ('trax.shapes', 'ShapeDtype'),
  ('trax.supervised.history', 'History'),
)
_SCALARS = {kind.__name__ for kind in np.sctypeDict.values()}
_BUILTINS = (
  bool,
  int,
  float,
  complex,
  str,
  bytes,
  bytearray,
  list,
  tuple,
  dict,
  set,
  frozenset,
  slice,
)
_ALLOWED = {
  ('_codecs', 'encode'): _encode,
  ('collections', 'OrderedDict'): collections.OrderedDict,
  ('collections', 'deque'): collections.deque,
  ('collections', 'defaultdict'): collections.defaultdict,
  **{('builtins', kind.__name__): kind for kind in _BUILTINS},
  # As protocols before 3 have it.
  **{('__builtin__', kind.__name__): kind for kind in _BUILTINS},
  ('numpy', 'ndarray'): np.ndarray,
  ('numpy', 'dtype'): np.dtype,
  **{(module, '_reconstruct'): _array for module in _NUMPY},
  **{(module, 'scalar'): _scalar for module in _NUMPY},
  ('numpy.core.numeric', '_frombuffer'): _from_buffer,
  ('numpy._core.numeric', '_frombuffer'): _from_buffer,
  **{name: _jax_array for name in _JAX_ARRAYS},
  **_float8_and_bfloat16(),
}


def _name(file):
  return getattr(file, 'name', None) or 'the file'

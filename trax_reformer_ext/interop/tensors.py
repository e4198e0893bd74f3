"""The neutral format: one safetensors file that says what its model is."""

import json

import numpy as np

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.interop.description import Description, complete
from trax_reformer_ext.interop.weights import as_float32, check, shapes_of

_FORMAT = 'trax_reformer_ext'
_VERSION = '1'


def read_model(path):
  """A model from a file of write_model.

  Args:
    path: str.

  Returns:
    Description.

  Raises:
    ReformerError: it can't be read, is of something else, or its weights are
      not those of its model.
  """
  metadata = _open(path, lambda f: f.metadata()) or {}
  if metadata.get('format') != _FORMAT:
    raise ReformerError(
      f'{path} does not say which model it is of: give a file that '
      'trax-reformer convert wrote, or the directory of a model with its config'
    )
  if metadata.get('version') != _VERSION:
    raise ReformerError(
      f'{path} has the version {metadata.get("version")!r}, and {_VERSION} is '
      'known here: install the newest trax_reformer_ext'
    )
  try:
    arguments = json.loads(metadata['arguments'])
    model = metadata['model']
    arguments = dict(arguments)
  except (KeyError, ValueError, TypeError) as e:
    raise ReformerError(
      f'{path} has no arguments of a model that can be read: it is damaged'
    ) from e
  description = Description(model, complete(model, arguments, path), {})
  found, wanted = read(path), shapes_of(description)
  check({k: x.shape for k, x in found.items()}, wanted, path)
  weights = {k: as_float32(found[k], k, path) for k in wanted}
  return description._replace(weights=weights)


def write_model(description, path):
  """Writes a model with all that is needed to rebuild it.

  Args:
    description: Description.
    path: str, the file.
  """
  metadata = {
    'format': _FORMAT,
    'version': _VERSION,
    'model': description.model,
    'arguments': json.dumps(description.arguments),
  }
  write(description.weights, path, metadata)


def read(path):
  """All arrays of a safetensors file.

  Returns:
    dict from names to arrays.

  Raises:
    ReformerError: it can't be read.
  """
  return _open(path, lambda f: {k: f.get_tensor(k) for k in f.keys()})


def write(arrays, path, metadata):
  """Writes a safetensors file.

  Args:
    arrays: dict from names to arrays.
    path: str.
    metadata: dict from str to str.
  """
  from safetensors import numpy as safetensors

  arrays = {k: np.ascontiguousarray(x) for k, x in arrays.items()}
  safetensors.save_file(arrays, path, metadata)


def _open(path, read_from):
  import safetensors

  try:
    with safetensors.safe_open(path, framework='numpy') as f:
      return read_from(f)
  except Exception as e:  # a damaged header may raise several
    reason = ' '.join(str(e).split())[:200]
    raise ReformerError(
      f'{path} cannot be read ({reason}): it is damaged, or no safetensors file'
    ) from e

"""Checkpoints of Trax: model.pkl.gz, alone or with model.weights.npy.gz."""

import gzip
import math
import os
import pickle

import numpy as np
from numpy.lib import format as npy

from trax_reformer_ext import unpickling
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.interop import gin_config
from trax_reformer_ext.interop.description import Description
from trax_reformer_ext.interop.weights import (
  name_flat,
  shapes_of,
  signature_of,
)

PICKLE = 'model.pkl.gz'
CONFIG = 'config.gin'
_END = '.pkl.gz'


def find_pickle(path):
  """The pickle of a path: the file itself, or that of the directory.

  Returns:
    str, or None where there is none.
  """
  if os.path.isdir(path):
    path = os.path.join(path, PICKLE)
  return path if os.path.isfile(path) and path.endswith(_END) else None


def read(path, config=''):
  """A model.

  Args:
    path: str, as of find_pickle.
    config: str, gin config of its model; that of Trax's trainer is read where
      it lies beside the file.

  Returns:
    Description.

  Raises:
    ReformerError: a file that can't be read or would run code, no config, or
      weights that are not its model's.
  """
  path = find_pickle(path)
  beside = os.path.join(os.path.dirname(path), CONFIG)
  if os.path.isfile(beside):
    with open(beside, encoding='utf-8', errors='replace') as f:
      config = f'{f.read()}\n{config}'
  if not config.strip():
    raise ReformerError(
      f'{path} does not say which model it is of, and no {CONFIG} lies beside '
      'it: give its arguments, by --config_file or --config'
    )
  model, arguments = gin_config.read(config, path)
  description = Description(model, arguments, {})
  named = name_flat(read_arrays(path), shapes_of(description), path)
  return description._replace(weights=named)


def read_arrays(path):
  """The weights alone, in Trax's order, as a list of arrays.

  Args:
    path: str, as of find_pickle.

  Raises:
    ReformerError: a file that can't be read or would run code.
  """
  path = find_pickle(path)
  try:
    with gzip.open(path, 'rb') as f:
      content = unpickling.load(f)
  except (OSError, EOFError) as e:
    raise ReformerError(f'{path} cannot be read ({e}): it is damaged') from e
  weights = content.get('flat_weights') if isinstance(content, dict) else None
  if isinstance(weights, int):
    weights = read_flat(_beside(path))
  if not isinstance(weights, (list, tuple)):
    raise ReformerError(
      f'{path} holds no flat_weights: it is no checkpoint of a model, or of a '
      'Trax before June 2020'
    )
  return [_from_bits(x) for x in weights]


def read_flat(path):
  """The arrays of a gzipped file that numpy saved one after another.

  Raises:
    ReformerError: it is cut off, or holds something else.
  """
  arrays = []
  try:
    with gzip.open(path, 'rb') as f:
      while f.peek(1):
        arrays.append(npy.read_array(f, allow_pickle=False))
  except (OSError, EOFError, ValueError) as e:
    raise ReformerError(f'{path} cannot be read ({e}): it is damaged') from e
  return arrays


def write(description, path):
  """Writes a directory as of Trax's trainer, or one file where path names it.

  Args:
    description: Description.
    path: str, a directory that is there and empty, or a file whose name ends
      in .pkl.gz.
  """
  weights = [np.asarray(x) for x in description.weights.values()]
  content = {
    'step': 0,
    'flat_weights': weights,
    'flat_state': [],
    'input_signature': _signature(description),
    'version_timestamp': 'Mar-10-2021',
  }
  if os.path.isdir(path):
    content |= {'flat_weights': 2, 'slots_per_task': []}
    with gzip.open(os.path.join(path, 'model.weights.npy.gz'), 'wb', 2) as f:
      for x in weights:
        npy.write_array(f, x, allow_pickle=False)
    text = gin_config.write(
      description.model, description.arguments, 'Converted by trax-reformer.'
    )
    with open(os.path.join(path, CONFIG), 'w', encoding='utf-8') as f:
      f.write(text)
    path = os.path.join(path, PICKLE)
  with gzip.open(path, 'wb', 2) as f:
    pickle.dump(content, f, protocol=4)


def _signature(description):
  """An input of a length that Trax's attention takes."""
  layers = description.arguments.get('attention_type', [])
  length = math.lcm(*(layer['chunk_len'] or 1 for layer in layers))
  return signature_of(description, length=length)


def _beside(path):
  """The file with the weights of a split checkpoint."""
  for name in (
    f'{path.removesuffix(_END)}.weights.npy.gz',
    f'{path}.npy',  # as Trax has named it before
  ):
    if os.path.isfile(name):
      return name
  raise ReformerError(
    f'{path} has its weights in '
    f'{os.path.basename(path).removesuffix(_END)}.weights.npy.gz, which is not '
    'there: put it beside'
  )


def _from_bits(array):
  """Trax saves bfloat16 as its bits."""
  array = np.asarray(array)
  if array.dtype == np.uint16:
    import ml_dtypes

    return array.view(ml_dtypes.bfloat16)
  return array

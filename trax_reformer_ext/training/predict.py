"""The configured model in mode 'predict'."""

import inspect

import numpy as np
from trax import shapes

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.training.configs import configured


def can_predict():
  """Whether the configured model has the mode as generation needs it."""
  parameters = inspect.signature(configured('model')).parameters
  return 'predict_mem_len' in parameters


def predict_model(length, initialise=True):
  """Makes the configured model in mode 'predict'.

  Args:
    length: int, tokens that its caches hold; None for all that its positions
      allow.
    initialise: bool; False to look at its layers alone, without weights.

  Returns:
    A model, before its first call.

  Raises:
    ReformerError: a model without cached decoding.
  """
  if not can_predict():
    model = inspect.unwrap(configured('model'))
    raise ReformerError(
      f'train.model is {getattr(model, "__name__", repr(model))}, which has no '
      'cached decoding: generation needs trax_reformer_ext.ReformerLM or '
      'trax_reformer_ext.Reformer'
    )
  model = configured('model')(mode='predict', predict_mem_len=length)
  if initialise:
    ids = shapes.ShapeDtype((1, 1), np.int32)
    model.init(ids if model.n_in == 1 else (ids,) * model.n_in)
  return model

"""What several layers share."""

import inspect

import gin
import jax

from trax_reformer_ext.errors import ReformerError


def configurable(fn):
  """Registers a layer with gin as trax_reformer_ext.<Name>, without mode."""
  denylist = ['mode'] if 'mode' in inspect.signature(fn).parameters else None
  return gin.configurable(module='trax_reformer_ext', denylist=denylist)(fn)


def as_tuple(inputs):
  """The inputs of a layer, one or several, as a tuple."""
  return tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)


def check(condition, message):
  """Raises ReformerError with the message unless the condition holds."""
  if not condition:
    raise ReformerError(message)


def check_mode(name, mode):
  """Refuses modes that the layer called name does not have."""
  check(
    mode in ('train', 'eval', 'predict'),
    f"{name}.mode is {mode!r}: it can be 'train', 'eval' or 'predict'",
  )


def dropout_by_feature(x, rate, rng):
  """Drops whole features: one mask [d] for all leading axes, as in Trax."""
  if not rate:
    return x
  keep = jax.random.bernoulli(rng, 1 - rate, x.shape[-1:])
  return x * (keep / (1 - rate)).astype(x.dtype)

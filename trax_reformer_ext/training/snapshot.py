"""The arrays of a training run, out of Trax's objects and back into them."""

import jax
import numpy as np
from trax import layers as tl

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.layers import drop_buckets
from trax_reformer_ext.training.checks import check_weights


def take(model, eval_model, trainers, rng):
  """What a checkpoint has to hold.

  Args:
    model: initialised Trax layer.
    eval_model: the same for evaluation.
    trainers: Trax's trainers, one a task.
    rng: random key.

  Returns:
    (flat list of weights, dict from names to lists of arrays), on the host.
  """
  drop_buckets(model)
  drop_buckets(eval_model)
  weights, _ = tl.flatten_weights_and_state(model.weights, ())
  training = {
    'state': _filled(model.state),
    'eval_state': _filled(eval_model.state),
    'rng': [rng],
  }
  for i, trainer in enumerate(trainers):
    training[f'slots{i}'] = _filled(trainer.slots)
  to_host = lambda arrays: [np.asarray(x) for x in arrays]
  return to_host(weights), {k: to_host(v) for k, v in training.items()}


def put(saved, model, eval_model, trainers, folder):
  """Gives a run's objects what take took.

  Args:
    saved: Saved.
    model: initialised Trax layer.
    eval_model: the same for evaluation.
    trainers: Trax's trainers, one a task.
    folder: str, the run's directory.

  Returns:
    The random key.

  Raises:
    ReformerError: weights of another model or slots of another optimizer.
  """
  put_weights(saved.weights, model, eval_model, folder)
  for layer, name in ((model, 'state'), (eval_model, 'eval_state')):
    layer.state = _filled_in(layer.state, saved.training.get(name, []))
  for i, trainer in enumerate(trainers):
    slots = saved.training.get(f'slots{i}', [])
    try:
      trainer.slots = _filled_in(trainer.slots, slots)
    except ValueError as e:
      raise ReformerError(
        f'--output_dir is {str(folder)!r}, which holds a run of another '
        f'optimizer ({e}): choose another directory, or the config of that run'
      ) from e
  return saved.training['rng'][0]


def put_weights(weights, model, eval_model, folder):
  """Gives a run's models weights alone.

  Args:
    weights: flat list of arrays.
    model: initialised Trax layer.
    eval_model: the same for evaluation.
    folder: str, the run's directory.

  Raises:
    ReformerError: weights of another model.
  """
  check_weights(model, weights, folder)
  drop_buckets(model)
  drop_buckets(eval_model)
  model.weights, _ = tl.unflatten_weights_and_state(
    weights, (), (model.weights, ()), weights_only=True
  )
  eval_model.weights = model.weights


def _filled(tree):
  """The leaves of a tree that hold anything, as Orbax writes no others."""
  return [x for x in jax.tree.leaves(tree) if np.size(x)]


def _filled_in(tree, arrays):
  """A tree with other arrays in it.

  Raises:
    ValueError: they do not fit.
  """
  leaves, structure = jax.tree.flatten(tree)
  wanted = [np.shape(x) for x in leaves if np.size(x)]
  found = [np.shape(x) for x in arrays]
  if wanted != found:
    differ = [
      f'{f}, where this one has {w}'
      for f, w in zip(found, wanted, strict=False)
      if f != w
    ]
    few = f'{len(found)} arrays, where this one has {len(wanted)}'
    raise ValueError(differ[0] if differ else few)
  arrays = iter(arrays)
  leaves = [next(arrays) if np.size(x) else x for x in leaves]
  return jax.tree.unflatten(structure, leaves)

"""The curves that a run has come to."""

import math

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.training import checkpoints
from trax_reformer_ext.training.saving import history_of

_BITS = 'metrics/bits_per_dim'


def curves_of(history):
  """Training and held-out bits per dim by step.

  Args:
    history: trax.supervised.history.History, as of Loop.history.

  Returns:
    dict from 'training' and 'held-out' to lists of (step, value); without
    those that have no point.
  """
  in_bits = lambda points: [(step, x / math.log(2)) for step, x in points]
  curves = {
    'training': history.get('train', _BITS)
    or in_bits(history.get('train', 'training/loss')),
    'held-out': history.get('eval', _BITS)
    or in_bits(history.get('eval', 'metrics/loss')),
  }
  return {name: points for name, points in curves.items() if points}


def curves_of_run(folder, name):
  """The same from the last checkpoint of a run.

  Args:
    folder: str, the run's directory.
    name: str, what messages call it.

  Raises:
    ReformerError: there is no checkpoint, or nothing was measured before it.
  """
  step = checkpoints.find_last(folder, say=checkpoints.warn)
  if step is None:
    raise ReformerError(
      f'{name}, which holds no checkpoint: give the '
      'directory of a run of trax-reformer train that has written one'
    )
  curves = curves_of(history_of(checkpoints.read_run(folder, step)['history']))
  if not curves:
    raise ReformerError(
      f'{name}, whose checkpoint has no history: train '
      'until the first evaluation'
    )
  return curves

"""Several machines that train one model, through jax.distributed."""

import jax
import numpy as np


def same_on_all(step):
  """What the chief says, on every host.

  Args:
    step: int or None; that of host 0 counts.
  """
  if jax.process_count() == 1:
    return step
  from jax.experimental import multihost_utils

  told = np.int32(-1 if step is None else step)
  told = int(multihost_utils.broadcast_one_to_all(told))
  return None if told < 0 else told


def any_of_all(value):
  """Whether the value is true on any host."""
  if jax.process_count() == 1:
    return bool(value)
  from jax.experimental import multihost_utils

  return bool(multihost_utils.process_allgather(np.bool_(value)).any())

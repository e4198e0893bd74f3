"""Where a layer in mode 'predict' starts from."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Prompt(NamedTuple):
  """State of a layer in mode 'predict' before its first call.

  The first call takes a prompt [batch, length, ...], from which the layer makes
  its cache.

  Attributes:
    lengths: int32, [] or [batch], tokens of each prompt; what lies behind them
      is padding. The default takes all.
  """

  lengths: Any = np.int32(2**31 - 1)

  def of(self, x):
    """The lengths of prompts x [batch, length, ...]: int32 [batch]."""
    lengths = jnp.minimum(jnp.asarray(self.lengths, jnp.int32), x.shape[1])
    return jnp.broadcast_to(lengths, x.shape[:1])


def with_prompt_lengths(state, lengths):
  """Sets the lengths of the prompts in the state of a whole model.

  Args:
    state: of a model in mode 'predict' before its first call.
    lengths: int32 [batch].

  Returns:
    A tree like state.
  """
  is_prompt = lambda x: isinstance(x, Prompt)
  put = lambda x: Prompt(lengths) if is_prompt(x) else x
  return jax.tree.map(put, state, is_leaf=is_prompt)

"""Logits from what a model returns."""

import jax.numpy as jnp


def logits_at(outputs, positions):
  """The logits of one position of each row.

  Args:
    outputs: of ReformerLM or Reformer, with or without loss_chunk_size.
    positions: int or int32 [], the same for all rows; or int32 [batch].

  Returns:
    [batch, vocab_size].
  """
  outputs = outputs if isinstance(outputs, tuple) else (outputs,)
  if len(outputs) < 3:  # logits, and the target of a Reformer
    logits = outputs[0]
    return logits[jnp.arange(logits.shape[0]), positions]
  x, kernel, bias = outputs[:3]  # of a model with loss_chunk_size > 0
  slices, place = jnp.divmod(positions, x.shape[2])
  return x[slices, jnp.arange(x.shape[1]), place] @ kernel + bias

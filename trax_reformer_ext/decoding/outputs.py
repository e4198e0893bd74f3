"""Logits from what a model returns."""

import jax.numpy as jnp


def logits_at(outputs, i):
  """The logits of one position.

  Args:
    outputs: of ReformerLM or Reformer, with or without loss_chunk_size.
    i: int or int32 [], the position.

  Returns:
    [batch, vocab_size].
  """
  if not isinstance(outputs, tuple):
    return outputs[:, i]
  if len(outputs) < 3:  # logits and the target
    return outputs[0][:, i]
  x, kernel, bias = outputs[:3]  # of a model with loss_chunk_size > 0
  size = x.shape[2]
  return x[i // size, :, i % size] @ kernel + bias


def logits_at_rows(outputs, positions):
  """The logits of one position of each row.

  Args:
    outputs: as of logits_at.
    positions: int32 [batch].

  Returns:
    [batch, vocab_size].
  """
  row = jnp.arange(positions.shape[0])
  if not isinstance(outputs, tuple):
    return outputs[row, positions]
  if len(outputs) < 3:
    return outputs[0][row, positions]
  x, kernel, bias = outputs[:3]
  size = x.shape[2]
  return x[positions // size, row, positions % size] @ kernel + bias

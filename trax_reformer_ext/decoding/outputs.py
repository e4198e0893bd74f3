"""Logits from what a model returns."""


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

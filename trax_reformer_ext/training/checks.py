"""Checks that a model, its data, its loss and its checkpoint go together."""

import numpy as np
from trax import layers as tl

from trax_reformer_ext.errors import ReformerError


def find_vocab_sizes(model):
  """The numbers of token ids of a model's inputs.

  Args:
    model: Trax layer; with two inputs its first embedding takes the first one
      and its last embedding the second.

  Returns:
    List of (name of the parameter, its value), one for each input; empty for a
    model without embeddings.
  """
  embeddings = _embeddings(model)
  if not embeddings:
    return []
  first, last = embeddings[0], embeddings[-1]
  if model.n_in != 2:
    return [('ReformerLM.vocab_size', first._vocab_size)]
  target = 'input_vocab_size' if first is last else 'output_vocab_size'
  return [
    ('Reformer.input_vocab_size', first._vocab_size),
    (f'Reformer.{target}', last._vocab_size),
  ]


def check_ids(batch, vocab_sizes):
  """Refuses token ids outside of the vocabulary, which JAX would clip.

  Args:
    batch: tuple that starts with the inputs; those of integers hold ids.
    vocab_sizes: as find_vocab_sizes has it.

  Raises:
    ReformerError: an id that is out of range.
  """
  for ids, (name, size) in zip(batch, vocab_sizes, strict=False):
    ids = np.asarray(ids)
    if ids.dtype.kind not in 'iu' or not ids.size:
      continue
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= size:
      raise ReformerError(
        f'{name} is {size}, but the data has the token id '
        f'{high if high >= size else low}: set it to at least {high + 1}, or '
        f'choose data with ids in [0, {name.partition(".")[2]})'
      )


def is_chunked(model):
  """Whether a model leaves its logits to the loss, by loss_chunk_size."""
  # In place of the logits x, kernel and bias; a second input is passed on.
  return model.n_out - model.n_in == 2


def check_loss(model, loss_layer):
  """Refuses a loss that does not take what the model returns.

  Raises:
    ReformerError: loss_chunk_size without its loss, or the other way.
  """
  name = 'Reformer' if model.n_in == 2 else 'ReformerLM'
  chunked_model = is_chunked(model)
  chunked_loss = loss_layer.name == 'ChunkedCrossEntropyLoss'
  if chunked_model and not chunked_loss:
    raise ReformerError(
      f'train.loss_fn is {loss_layer.name}, but {name}.loss_chunk_size is set: '
      'use train.loss_fn = @trax_reformer_ext.ChunkedCrossEntropyLoss(), '
      'train.metrics = @trax_reformer_ext.Metrics() and '
      'trax_reformer_ext.Metrics.chunked = True'
    )
  if chunked_loss and not chunked_model:
    raise ReformerError(
      'train.loss_fn is ChunkedCrossEntropyLoss, but the model has no slices: '
      f'set {name}.loss_chunk_size > 0, or leave train.loss_fn and '
      'Metrics.chunked at their defaults'
    )


def check_weights(model, stored, folder):
  """Refuses weights of another model.

  Args:
    model: initialised Trax layer.
    stored: list of arrays, the weights of a checkpoint.
    folder: str, the directory of its run.

  Raises:
    ReformerError: another vocabulary, or other shapes.
  """
  own = list(_named_weights(model, model.weights))
  shapes = [np.shape(x) for x in stored]
  wanted = [x.shape for _, x in own]
  if shapes == wanted:
    return
  detail = f'{len(shapes)} weights, where this one has {len(wanted)}'
  if len(shapes) == len(wanted):
    i = next(i for i, shape in enumerate(shapes) if shape != wanted[i])
    layer, size = own[i][0], wanted[i]
    detail = f'{shapes[i]}, where {layer} is {size}'
    if layer.startswith('Embedding') and shapes[i][1:] == size[1:]:
      names = {n: name for name, n in reversed(find_vocab_sizes(model))}
      detail = (
        f'a vocabulary of {shapes[i][0]}, where {names[size[0]]} is {size[0]}'
      )
  raise ReformerError(
    f"--output_dir is {str(folder)!r}, which holds another model's run "
    f'({detail}): choose another directory, or the config of that run'
  )


def _named_weights(layer, weights):
  """Yields (name of the layer, array), in the order of flat weights."""
  if isinstance(weights, (tuple, list)):
    inside = len(weights) == len(layer.sublayers)
    for i, w in enumerate(weights):
      yield from _named_weights(layer.sublayers[i] if inside else layer, w)
  elif isinstance(weights, dict):
    for key in sorted(weights):
      yield from _named_weights(layer, weights[key])
  else:
    yield layer.name.partition('(')[0], weights


def _embeddings(layer):
  """All embeddings below a layer, in order; shared ones again."""
  if isinstance(layer, tl.Embedding):
    return [layer]
  return [found for sub in layer.sublayers for found in _embeddings(sub)]

"""Directories of Hugging Face's transformers: config.json and weights."""

import json
import os

import numpy as np

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.interop import (
  huggingface_config,
  huggingface_export,
  tensors,
)
from trax_reformer_ext.interop.description import Description
from trax_reformer_ext.interop.weights import as_float32, check, shapes_of

CONFIG = 'config.json'
_WEIGHTS = 'model.safetensors'
_TORCH_WEIGHTS = 'pytorch_model.bin'
# Constants that older versions saved with the weights.
_BUFFERS = (
  *('self_mask_value_float16', 'self_mask_value_float32'),
  *('mask_value_float16', 'mask_value_float32'),
)


def read(path):
  """A language model.

  Args:
    path: str, a directory with config.json and model.safetensors or
      pytorch_model.bin, whole or in shards; the latter needs torch.

  Returns:
    (Description, list of notices).

  Raises:
    ReformerError: a file that can't be read, an architecture or a value that
      can't be had, or weights that are not the model's.
  """
  where = os.path.join(path, CONFIG)
  arguments, notices = huggingface_config.read(read_json(where), where)
  description = Description('ReformerLM', arguments, {})
  source, found = _read_tensors(path)
  found = {
    k: x for k, x in found.items() if k.rpartition('.')[2] not in _BUFFERS
  }
  bias = _take_head_bias(found, notices)
  layout = _layout(description)
  shapes = {k: np.shape(x) for k, x in found.items()}
  wanted = {theirs: shape for theirs, shape, _, _ in layout.values()}
  check(shapes, wanted, source)
  weights = {
    name: to_ours(as_float32(found.pop(theirs), theirs, source))
    for name, (theirs, _, to_ours, _) in layout.items()
  }
  if bias is not None and bias.any():
    notices.append(
      'transformers 5.23 leaves lm_head.bias out of the logits; here it is in'
    )
  return description._replace(weights=weights), notices


def write(description, path):
  """Writes a directory that from_pretrained of transformers loads.

  Args:
    description: Description.
    path: str, a directory that is there and empty.

  Returns:
    List of notices.

  Raises:
    ReformerError: something that Hugging Face's Reformer does not have.
  """
  config, notices = huggingface_export.write(
    description.model, description.arguments
  )
  layout = _layout(description)
  theirs = {
    name: to_theirs(description.weights[ours])
    for ours, (name, _, _, to_theirs) in layout.items()
  }
  theirs['lm_head.decoder.bias'] = theirs['lm_head.bias'].copy()
  tensors.write(theirs, os.path.join(path, _WEIGHTS), {'format': 'pt'})
  with open(os.path.join(path, CONFIG), 'w', encoding='utf-8') as f:
    json.dump(config, f, indent=2, sort_keys=True)
    f.write('\n')
  return notices


def read_json(path):
  """The content of a JSON file that holds an object.

  Raises:
    ReformerError: it can't be read, or holds something else.
  """
  try:
    with open(path, encoding='utf-8') as f:
      content = json.load(f)
  except (OSError, ValueError, RecursionError) as e:
    reason = getattr(e, 'strerror', None) or str(e)
    raise ReformerError(f'{path} cannot be read ({reason})') from e
  if not isinstance(content, dict):
    raise ReformerError(f'{path} holds no JSON object: it is damaged')
  return content


def _read_tensors(path):
  """(what was read, dict from names to arrays)."""
  for name, reader in (
    (_WEIGHTS, tensors.read),
    (_TORCH_WEIGHTS, _read_by_torch),
  ):
    whole = os.path.join(path, name)
    if os.path.isfile(whole):
      return whole, reader(whole)
    index = f'{whole}.index.json'
    if os.path.isfile(index):
      return index, _read_shards(path, index, reader)
  raise ReformerError(
    f'{path} holds no weights: it needs {_WEIGHTS} or {_TORCH_WEIGHTS}'
  )


def _read_shards(path, index, reader):
  names = read_json(index).get('weight_map')
  if not isinstance(names, dict):
    raise ReformerError(f'{index} has no weight_map: it is damaged')
  found = {}
  for shard in sorted(set(map(str, names.values()))):
    if os.path.basename(shard) != shard or shard in ('', '.', '..'):
      raise ReformerError(
        f'{index} names the file {shard!r}: shards lie beside it'
      )
    found |= reader(os.path.join(path, shard))
  return found


def _read_by_torch(path):
  try:
    import torch
  except ImportError as e:
    raise ReformerError(
      f"{path} needs torch: pip install 'trax_reformer_ext[huggingface]', or "
      f'give {_WEIGHTS}'
    ) from e
  try:
    loaded = torch.load(path, map_location='cpu', weights_only=True)
    return {k: x.float().numpy() for k, x in loaded.items()}
  except Exception as e:  # a damaged file may raise nearly any
    reason = ' '.join(str(e).split())[:200]
    raise ReformerError(
      f'{path} cannot be read ({type(e).__name__}: {reason}): it is damaged, '
      'or holds more than weights'
    ) from e


def _take_head_bias(found, notices):
  """Leaves one of the two names that the last bias has had."""
  old, new = 'lm_head.bias', 'lm_head.decoder.bias'
  if new not in found:
    return found.get(old)
  bias = found.pop(new)
  if old in found and not np.array_equal(found[old], bias):
    notices.append(f'{old} is not {new}, which is in the logits and taken')
  found[old] = bias
  return bias


def _layout(description):
  """Our names, with (their name, their shape, to ours, to theirs) each."""
  own = shapes_of(description)
  layout = {}

  def add(ours, theirs, kind):
    shape = own[ours]
    to_ours, to_theirs, their_shape = _KINDS[kind](shape)
    layout[ours] = theirs, their_shape, to_ours, to_theirs

  embeddings = 'reformer.embeddings'
  add('embedding', f'{embeddings}.word_embeddings.weight', 'same')
  if 'positions' in own:
    theirs = f'{embeddings}.position_embeddings.embedding.weight'
    add('positions', theirs, 'same')
  for axis in range(len(description.arguments['pos_axial_shape'])):
    theirs = f'{embeddings}.position_embeddings.weights.{axis}'
    add(f'positions.{axis}', theirs, 'axial')
  for i in range(description.arguments['n_layers']):
    half = f'layers.{i}.attention'
    theirs = f'reformer.encoder.layers.{i}.attention'
    _add_norm(add, half, f'{theirs}.layer_norm')
    projections = {'w_q': 'query', 'w_k': 'key', 'w_v': 'value'}
    if f'{half}.w_k' not in own:
      projections = {'w_q': 'query_key', 'w_v': 'value'}
    for name, their_name in projections.items():
      their_name = f'{theirs}.self_attention.{their_name}.weight'
      add(f'{half}.{name}', their_name, 'to_heads')
    add(f'{half}.w_o', f'{theirs}.output.dense.weight', 'from_heads')
    half = f'layers.{i}.feed_forward'
    theirs = f'reformer.encoder.layers.{i}.feed_forward'
    _add_norm(add, half, f'{theirs}.layer_norm')
    for ours, their_name in (
      ('dense', 'dense.dense'),
      ('dense_2', 'output.dense'),
    ):
      add(f'{half}.{ours}.kernel', f'{theirs}.{their_name}.weight', 'kernel')
      add(f'{half}.{ours}.bias', f'{theirs}.{their_name}.bias', 'same')
  add('norm.scale', 'reformer.encoder.layer_norm.weight', 'same')
  add('norm.bias', 'reformer.encoder.layer_norm.bias', 'same')
  add('projection.kernel', 'lm_head.decoder.weight', 'kernel')
  add('projection.bias', 'lm_head.bias', 'same')
  return layout


def _add_norm(add, ours, theirs):
  add(f'{ours}.norm.scale', f'{theirs}.weight', 'same')
  add(f'{ours}.norm.bias', f'{theirs}.bias', 'same')


def _same(shape):
  return (lambda x: x), (lambda x: x), shape


def _kernel(shape):
  """[in, out] here, [out, in] there."""
  return (lambda x: x.T), (lambda x: x.T), shape[::-1]


def _axial(shape):
  """An axis for the batch here."""
  return (lambda x: x[None]), (lambda x: x[0]), shape[1:]


def _to_heads(shape):
  """[heads, d_model, depth] here, [heads * depth, d_model] there."""
  heads, d_model, depth = shape
  return (
    lambda x: x.reshape(heads, depth, d_model).swapaxes(1, 2),
    lambda x: x.swapaxes(1, 2).reshape(heads * depth, d_model),
    (heads * depth, d_model),
  )


def _from_heads(shape):
  """[heads, depth, d_model] here, [d_model, heads * depth] there."""
  heads, depth, d_model = shape
  return (
    lambda x: x.T.reshape(shape),
    lambda x: x.reshape(heads * depth, d_model).T,
    (d_model, heads * depth),
  )


_KINDS = {
  'same': _same,
  'kernel': _kernel,
  'axial': _axial,
  'to_heads': _to_heads,
  'from_heads': _from_heads,
}

"""Names of a model's weights."""

import jax
import numpy as np
from trax import layers as tl
from trax.shapes import ShapeDtype

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.interop.description import build

# Halves of reversible blocks, by the end of their names.
_HALVES = {
  'DecoderAttn': ('layers', 'attention'),
  'DecoderFF': ('layers', 'feed_forward'),
  'EncoderAttn': ('encoder', 'attention'),
  'EncoderFF': ('encoder', 'feed_forward'),
  'CausalAttn': ('decoder', 'attention'),
  'EncDecAttn': ('decoder', 'source_attention'),
  'EncDecFF': ('decoder', 'feed_forward'),
}
_PROJECTIONS = ('Dense', 'SlicedLogits')
_PARTS = {
  'norm': ('scale', 'bias'),
  'dense': ('kernel', 'bias'),
  'projection': ('kernel', 'bias'),
  ('attention', 3): ('w_q', 'w_v', 'w_o'),
  ('attention', 4): ('w_q', 'w_k', 'w_v', 'w_o'),
}


def shapes_of(description):
  """Shapes of the weights that a description's model has, by their names.

  Returns:
    dict from names to tuples of ints, in the order of Trax's flat weights.
  """
  model = build(description, loss_chunk_size=0, n_micro_batches=1)
  signature = signature_of(description)
  weights, _ = jax.eval_shape(lambda: model.init(signature))
  return {name: w.shape for name, w in _named(model, weights)}


def names_of(model):
  """Names of the weights of an initialised model, as of shapes_of.

  Returns:
    List of str, in the order of Trax's flat weights.
  """
  return [name for name, _ in _named(model, model.weights)]


def signature_of(description, batch=1, length=1):
  """The signature of an input to the model of a description."""
  ids = ShapeDtype((batch, length), np.int32)
  return ids if description.model == 'ReformerLM' else (ids, ids)


def check(found, wanted, where):
  """Refuses weights that are not those of a model, all of them at once.

  Args:
    found: dict from names to shapes.
    wanted: dict from names to shapes.
    where: str, what was found.

  Raises:
    ReformerError: a weight is missing, one too many, or of another shape.
  """
  missing = [name for name in wanted if name not in found]
  extra = [name for name in found if name not in wanted]
  wrong = [
    f'{name} {tuple(found[name])}, where the model has {tuple(shape)}'
    for name, shape in wanted.items()
    if name in found and tuple(found[name]) != tuple(shape)
  ]
  faults = []
  for what, names in (
    ('missing', missing),
    ('not of the model', extra),
    ('of another shape', wrong),
  ):
    if names:
      faults.append(f'{what}: {", ".join(names)}')
  if faults:
    raise ReformerError(
      f'{where} does not hold the weights of the model ({"; ".join(faults)}): '
      'give another file, or the arguments that it was made with'
    )


def name_flat(arrays, wanted, where):
  """Names arrays that come in the order of Trax's flat weights.

  Args:
    arrays: list of arrays.
    wanted: dict from names to shapes.
    where: str, what they are from.

  Returns:
    dict from names to float32 arrays.

  Raises:
    ReformerError: other shapes, or another number of them.
  """
  names = [*wanted, *(f'weight {i}' for i in range(len(wanted), len(arrays)))]
  named = dict(zip(names, arrays, strict=False))
  check({k: np.shape(x) for k, x in named.items()}, wanted, where)
  return {k: as_float32(x, k, where) for k, x in named.items()}


def as_float32(array, name, where):
  """An array of floats as float32.

  Raises:
    ReformerError: it holds something else.
  """
  array = np.asarray(array)
  # bfloat16 and the like are of the kind V, as what has no type at all is.
  if array.dtype.kind not in 'fV' or array.dtype.type is np.void:
    raise ReformerError(
      f'{where} has {array.dtype} in {name}: weights are floating-point numbers'
    )
  return array.astype(np.float32)


def set_weights(model, named, where):
  """Gives an initialised model its weights.

  Args:
    model: Trax layer.
    named: dict from names to arrays.
    where: str, what they are from.

  Raises:
    ReformerError: they are not this model's.
  """
  flat, _ = tl.flatten_weights_and_state(model.weights, ())
  names = names_of(model)
  wanted = {k: x.shape for k, x in zip(names, flat, strict=True)}
  check({k: np.shape(x) for k, x in named.items()}, wanted, where)
  arrays = [
    np.asarray(named[k], x.dtype) for k, x in zip(names, flat, strict=True)
  ]
  model.weights, _ = tl.unflatten_weights_and_state(
    arrays, (), (model.weights, ()), weights_only=True
  )


def _named(model, weights):
  """List of (name, array), in the order of flat weights."""
  counts, result = {}, []

  def unique(name):
    counts[name] = counts.get(name, 0) + 1
    return name if counts[name] == 1 else f'{name}_{counts[name]}'

  def visit(layer, weights, prefix):
    if isinstance(weights, dict):
      return  # shared with a layer before
    if layer.sublayers:
      prefix = _half_of(layer, counts) or prefix
      for sub, w in zip(layer.sublayers, weights, strict=True):
        visit(sub, w, prefix)
      return
    arrays = jax.tree.leaves(weights)
    if not arrays:
      return
    kind = _kind_of(layer, bool(prefix))
    parts = _PARTS.get(kind, _PARTS.get((kind, len(arrays))))
    own = prefix if kind == 'attention' else unique(f'{prefix}{kind}') + '.'
    for i, array in enumerate(arrays):
      part = parts[i] if parts else str(i)
      name = own + part
      if len(arrays) == 1 and not parts:
        name = own.rstrip('.')
      result.append((name, array))

  visit(model, weights, '')
  return result


def _half_of(layer, counts):
  """The prefix of the names within half of a reversible block, or None."""
  for end, (stack, part) in _HALVES.items():
    if layer.name == f'ReversibleHalfResidual{end}':
      n = counts[end] = counts.get(end, -1) + 1
      return f'{stack}.{n}.{part}.'
  return None


def _kind_of(layer, in_block):
  kind = type(layer).__name__.lstrip('_')
  if kind in _PROJECTIONS:
    return 'dense' if in_block else 'projection'
  if kind.endswith('Attention'):
    return 'attention'
  if kind.endswith('PositionalEncoding'):
    return 'positions'
  return {'LayerNorm': 'norm'}.get(kind, kind.lower())

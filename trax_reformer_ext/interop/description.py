"""What a model is, in no format: its name, its arguments and its weights."""

import difflib
import functools
import inspect
import json
from typing import NamedTuple

from trax.layers import activation_fns

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.layers import LSHSelfAttention, SelfAttention
from trax_reformer_ext.models import Reformer, ReformerLM

MODELS = {'ReformerLM': ReformerLM, 'Reformer': Reformer}
LAYERS = {
  'SelfAttention': SelfAttention,
  'LSHSelfAttention': LSHSelfAttention,
}
# Arguments that list layers.
ATTENTION = (
  'attention_type',
  'encoder_attention_type',
  'decoder_attention_type',
)
# What a model gives its attention itself, or what has no effect.
_NOT_OWN = (
  *('n_heads', 'd_qk', 'd_v', 'causal', 'masked', 'mode'),
  *('attention_dropout', 'output_dropout', 'bias', 'hash_fn', 'ablation'),
  *('predict_mem_len', 'predict_drop_len', 'max_length_for_buckets'),
  *('use_python_loop', 'use_reference_code'),
)


class Description(NamedTuple):
  """A model of this package.

  Attributes:
    model: str, 'ReformerLM' or 'Reformer'.
    arguments: dict, all of its constructor's arguments but mode, of JSON's
      types: attention types are lists of dicts with the key 'layer' beside the
      layer's own options, ff_activation is the name of a layer of Trax.
    weights: dict from names to float32 arrays, in the order of Trax's flat
      weights; empty where only the arguments are known.
  """

  model: str
  arguments: dict
  weights: dict


def complete(model, arguments, where):
  """Adds the defaults to arguments, after a check of their names.

  Args:
    model: str, name of a model.
    arguments: dict, some of its arguments.
    where: str, what they are from.

  Returns:
    dict, as of Description.

  Raises:
    ReformerError: a name or a layer that is not known.
  """
  if model not in MODELS:
    raise ReformerError(
      f'{where} is of the model {model!r}: give one of {", ".join(MODELS)}'
    )
  known = _defaults(MODELS[model], without=('mode',))
  _check_names(model, arguments, known, where)
  result = known | arguments
  for name, value in result.items():
    if name in ATTENTION:
      result[name] = [_complete_layer(x, where) for x in _as_list(value)]
    elif name == 'ff_activation':
      result[name] = _activation_name(value, where)
    elif value is inspect.Parameter.empty:
      raise ReformerError(
        f'{where} does not say {model}.{name}: give it, by --config'
      )
  if result['pos_type'] == 'time-bin':
    raise ReformerError(
      f"{where} has {model}.pos_type 'time-bin', which takes arguments of its "
      'own: it cannot be converted'
    )
  return json.loads(json.dumps(result))


def build(description, mode='eval', **overrides):
  """Makes the model of a description, without its weights.

  Args:
    description: Description.
    mode: 'train', 'eval' or 'predict'.
    **overrides: arguments of the model that win; attention types and
      activations may be functions that make layers.

  Returns:
    A Trax layer that is not initialised.

  Raises:
    ReformerError: an argument that the model does not have or can't do.
  """
  name = description.model
  _check_names(name, overrides, description.arguments, f'load_model of {name}')
  arguments = {}
  for key, value in (description.arguments | overrides).items():
    if key in ATTENTION:
      value = [_constructor(x) for x in _as_list(value)]
    elif key == 'ff_activation' and isinstance(value, str):
      value = getattr(activation_fns, value)
    elif isinstance(value, list):
      value = tuple(value)
    arguments[key] = value
  return MODELS[name](**arguments, mode=mode)


def own_options(layer):
  """The options of an attention layer that its model does not set.

  Args:
    layer: str, name of the layer.

  Returns:
    dict from names to defaults.
  """
  return _defaults(LAYERS[layer], without=_NOT_OWN)


def _defaults(function, without):
  parameters = inspect.signature(function).parameters
  return {k: p.default for k, p in parameters.items() if k not in without}


def _check_names(owner, given, known, where):
  for name in given:
    if name not in known:
      near = difflib.get_close_matches(name, known, 3, 0.5) or sorted(known)
      raise ReformerError(
        f'{where}: {owner} has no argument {name!r}: try {", ".join(near)}'
      )


def _complete_layer(value, where):
  """A dict for an attention layer, with all of its own options."""
  value = value if isinstance(value, dict) else {'layer': _name_of(value)}
  layer = value.get('layer')
  if layer not in LAYERS:
    raise ReformerError(
      f'{where} has the attention_type {layer}: only {" and ".join(LAYERS)} '
      'can be converted'
    )
  options = {k: v for k, v in value.items() if k not in ('layer', *_NOT_OWN)}
  known = own_options(layer)
  for name, use in (('bias', False), ('ablation', None)):
    if value.get(name):
      raise ReformerError(
        f'{where} has {layer}.{name} {value[name]!r}: use {use}'
      )
  _check_names(layer, options, known, where)
  return {'layer': layer} | known | options


def _activation_name(value, where):
  name = value if isinstance(value, str) else _name_of(value)
  if not name[:1].isupper() or not hasattr(activation_fns, name):
    raise ReformerError(
      f'{where} has the ff_activation {name}: give one of trax.layers, such as '
      'Relu or FastGelu'
    )
  return name


def _constructor(value):
  """A function that makes the attention layer of a dict."""
  if not isinstance(value, dict):
    return value
  options = {k: v for k, v in value.items() if k != 'layer'}
  return functools.partial(LAYERS[value['layer']], **options)


def _name_of(function):
  function = inspect.unwrap(function)
  return getattr(function, '__name__', repr(function))


def _as_list(value):
  return list(value) if isinstance(value, (list, tuple)) else [value]

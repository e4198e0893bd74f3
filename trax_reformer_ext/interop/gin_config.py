"""The gin config of a model, read without running what it names, and written.

Gin itself imports what a config asks for, and a config is part of what a
stranger may send.
"""

import dataclasses

from gin import config_parser

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.interop.description import (
  ATTENTION,
  MODELS,
  complete,
  own_options,
)

_OURS = 'trax_reformer_ext'


def read(text, where):
  """The model that a gin config describes.

  That of train.model, or else the one that has bindings. Bindings of Trax's
  models and layers are taken as well as this package's.

  Args:
    text: str, what gin.config_str or gin.operative_config_str gave, or the
      same by hand.
    where: str, what it is from.

  Returns:
    (name of the model, arguments as of Description).

  Raises:
    ReformerError: it is no gin, or describes no model of this package.
  """
  config = _parse(text, where)
  model = config.model(where)
  arguments = config.bound(model)
  for name, value in list(arguments.items()):
    if name in ATTENTION:
      value = value if isinstance(value, (list, tuple)) else [value]
      arguments[name] = [config.layer(x) for x in value]
    elif isinstance(value, _Reference):
      arguments[name] = value.name
  # Trax takes axial positions only where pos_type says so.
  if not model.is_ours and not arguments.get('pos_type'):
    arguments.pop('pos_axial_shape', None)
  arguments.pop('mode', None)
  return model.name, complete(model.name, arguments, where)


def write(model, arguments, comment):
  """A gin config that builds a model, and trains it in its own way.

  Args:
    model: str, name of the model.
    arguments: dict, as of Description.
    comment: str, its first line.

  Returns:
    str, what differs from the defaults.
  """
  imports = _OURS, 'trax.layers', 'trax.supervised.trainer_lib'
  lines = [f'# {comment}', '', *(f'import {x}' for x in imports), '']
  required = {k: arguments[k] for k in arguments if k.endswith('vocab_size')}
  defaults = complete(model, required, 'the model')
  options = []
  plain = _kinds_of_one(sum((arguments.get(a, []) for a in ATTENTION), []))
  for name, value in arguments.items():
    if value == defaults[name] and name not in required:
      continue
    if name in ATTENTION:
      value = _references(name, value, plain, options)
    elif name == 'ff_activation':
      value = f'@trax.layers.{value}'
    else:
      value = repr(tuple(value) if isinstance(value, list) else value)
    lines.append(f'{_OURS}.{model}.{name} = {value}')
  if options:
    lines += ['', *dict.fromkeys(options)]
  lines += ['', f'train.model = @{_OURS}.{model}']
  if arguments['loss_chunk_size']:
    lines += [
      f'train.loss_fn = @{_OURS}.ChunkedCrossEntropyLoss()',
      f'train.metrics = @{_OURS}.Metrics()',
      f'{_OURS}.Metrics.chunked = True',
    ]
  return '\n'.join(lines) + '\n'


def _kinds_of_one(layers):
  """Names of the layers that all have the same options.

  These need no scope, and can be overridden by the layer's name alone.
  """
  found = {}
  for layer in layers:
    found.setdefault(layer['layer'], []).append(layer)
  return [
    k for k, of_kind in found.items() if all(x == of_kind[0] for x in of_kind)
  ]


def _references(argument, layers, plain, options):
  """References to layers, whose options are added as lines."""
  references = []
  for i, layer in enumerate(layers):
    name = layer['layer']
    scope = '' if name in plain else f'{argument}_{i}/'
    references.append(f'@{scope}{_OURS}.{name}')
    defaults = own_options(name)
    options += [
      f'{scope}{_OURS}.{name}.{option} = {value!r}'
      for option, value in layer.items()
      if option != 'layer' and value != defaults[option]
    ]
  return f'[{", ".join(references)}]'


@dataclasses.dataclass(frozen=True)
class _Reference:
  """@scope/module.name."""

  scope: str
  module: str
  name: str

  @property
  def is_ours(self):
    return self.module.split('.')[0] == _OURS


@dataclasses.dataclass(frozen=True)
class _Macro:
  """%name."""

  name: str


class _Delegate(config_parser.ParserDelegate):
  def configurable_reference(self, scoped_configurable_name, evaluate):
    del evaluate
    return _reference(scoped_configurable_name)

  def macro(self, macro_name):
    return _Macro(macro_name)


class _Config:
  """Bindings by reference, and macros."""

  def __init__(self):
    self.bindings, self.macros = {}, {}

  def add(self, statement):
    if not statement.arg_name:
      name = statement.selector
      if statement.scope:
        name = f'{statement.scope}/{name}'
      self.macros[name] = statement.value
      return
    if statement.selector.split('.')[-1] == 'macro':
      self.macros[statement.scope] = statement.value
      return
    scoped = f'{statement.scope}/{statement.selector}'.lstrip('/')
    of_name = self.bindings.setdefault(_reference(scoped), {})
    of_name[statement.arg_name] = statement.value

  def model(self, where):
    """The reference to the model."""
    bound = {}
    for reference, values in self.bindings.items():
      if reference.name == 'train':
        bound.update(values)
    model = self._resolve(bound.get('model'))
    if isinstance(model, _Reference):
      return model
    models = {r for r in self.bindings if r.name in MODELS and not r.scope}
    of_ours = {r for r in models if r.is_ours}
    # The operative config of a program that used both has both.
    found = {r.name: r for r in of_ours or models}
    if len(found) != 1:
      raise ReformerError(
        f'{where} has {"two models" if found else "no model"} in its gin '
        f'config: bind train.model, or the arguments of one of '
        f'{", ".join(MODELS)}'
      )
    return next(iter(found.values()))

  def bound(self, reference):
    """The values bound for a reference, those of inner scopes last."""
    result = {}
    scopes = [x for x in reference.scope.split('/') if x]
    for n in range(len(scopes) + 1):
      scope = '/'.join(scopes[:n])
      for other, values in self.bindings.items():
        if (other.scope, other.name, other.is_ours) == (
          scope,
          reference.name,
          reference.is_ours,
        ):
          result.update(values)
    return {k: self._resolve(v) for k, v in result.items()}

  def layer(self, value):
    """A dict for an attention type."""
    if not isinstance(value, _Reference):
      return {'layer': repr(value)}
    return {'layer': value.name} | self.bound(value)

  def _resolve(self, value):
    if isinstance(value, _Macro):
      return self._resolve(self.macros.get(value.name))
    if isinstance(value, (list, tuple)):
      return type(value)(self._resolve(x) for x in value)
    return value


def _reference(scoped_name):
  scope, _, selector = scoped_name.rpartition('/')
  module, _, name = selector.rpartition('.')
  return _Reference(scope, module, name)


def _parse(text, where):
  config = _Config()
  try:
    for statement in config_parser.ConfigParser(text, _Delegate()):
      if isinstance(statement, config_parser.IncludeStatement):
        raise ReformerError(
          f'{where} includes {statement.filename!r}, which is not followed: '
          "give a run's own config, as config.gin"
        )
      if isinstance(statement, config_parser.BindingStatement):
        config.add(statement)
  except SyntaxError as e:
    raise ReformerError(
      f'{where} has a gin config that cannot be read ({e.msg}, line {e.lineno})'
    ) from e
  return config

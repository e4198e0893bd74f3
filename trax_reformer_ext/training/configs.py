"""Gin configs: found, parsed and checked, with errors in one line."""

import difflib
import inspect
import logging
import pathlib

import gin

import trax_reformer_ext
from trax_reformer_ext.errors import ReformerError

_RENAMED = {
  'axial_pos_shape': 'pos_axial_shape',
  'd_axial_pos_embs': 'pos_d_axial_embs',
}
# Configurables whose bindings are checked against the types of the defaults.
_TYPED = ('train', 'multifactor', 'Adam', 'Adafactor', 'batcher')
# Parameters that take more types than their default has.
_UNTYPED = (
  'share_qk',
  'ff_use_sru',
  'use_memory_efficient_trainer',
  'minimum',
)


def shipped_configs():
  """Paths of the configs that come with the package, by name."""
  return {p.stem: p for p in sorted(_folder().glob('*.gin'))}


def find_config(name):
  """The path of a config: a file, or the name of a shipped config.

  Args:
    name: str; 'quickstart', 'quickstart.gin' and 'gin_configs/quickstart.gin'
      mean the shipped config where no file of this name exists.

  Returns:
    str, a path.

  Raises:
    ReformerError: neither exists.
  """
  path = pathlib.Path(name).expanduser()
  if path.is_file():
    return str(path)
  shipped = shipped_configs()
  if path.parent.name in ('', 'gin_configs') and path.stem in shipped:
    if path.suffix in ('', '.gin'):
      return str(shipped[path.stem])
  raise ReformerError(
    f'--config_file is {name!r}: there is no such file; shipped configs are '
    f'{", ".join(shipped)}'
  )


def parse(config_files, bindings):
  """Parses gin files and then bindings, which win.

  Args:
    config_files: list of str, as find_config takes them.
    bindings: list of str, lines of gin.

  Raises:
    ReformerError: a mistake in them.
  """
  gin.clear_config()
  gin.add_config_file_search_path(str(_folder()))
  files = [find_config(name) for name in config_files]
  # gin logs an error for every place where it does not find an include.
  logging.disable(logging.ERROR)
  try:
    gin.parse_config_files_and_bindings(files, bindings)
    gin.config_str()  # resolves macros
  except (
    ValueError,
    KeyError,
    SyntaxError,
    ImportError,
    OSError,
    TypeError,
  ) as e:
    raise ReformerError(_explain(e)) from e
  finally:
    logging.disable(logging.NOTSET)
  _check_types()


def configured(name):
  """The value of a parameter of train, as configured by gin.

  Raises:
    ReformerError: it is not bound.
  """
  bindings = gin.get_bindings('train')
  if name not in bindings:
    raise ReformerError(
      f'train.{name} is not set: bind it in the config, as '
      'gin_configs/quickstart.gin does'
    )
  return bindings[name]


def _folder():
  """Inside the package when installed, beside it in a checkout."""
  package = pathlib.Path(trax_reformer_ext.__file__).parent
  inside = package / 'gin_configs'
  return inside if inside.is_dir() else package.parent / 'gin_configs'


def _explain(e):
  """One line for an exception of gin's parser."""
  if isinstance(e, SyntaxError):
    where = f' in {e.filename}, line {e.lineno}' if e.filename else ''
    return f'config{where}: {e.msg}: {(e.text or "").strip()}'
  lines = [line.strip() for line in str(e.args[0] if e.args else e).split('\n')]
  # gin appends where the error is to the text of the exception.
  lines += [line.strip() for line in str(e).split('\n')[1:]]
  what = lines[0].strip('"').rstrip('.')
  where = next((x for x in lines[1:] if x and not x.startswith('In ')), '')
  hint = _hint(what)
  place = f' in {where!r}' if where and where not in what else ''
  return f'config: {what}{place}{hint}'


def _hint(what):
  for old, new in _RENAMED.items():
    if f"'{old}'" in what:
      return f': the parameter is called {new} since Trax 1.4'
  if what.startswith('Ambiguous selector'):
    return ': write the qualified name, with its module'
  if 'have a parameter named' in what:
    name, parameter = what.split("'")[1], what.split("'")[-2]
    known = list(inspect.signature(gin.get_configurable(name)).parameters)
    near = difflib.get_close_matches(parameter, known, 3, 0.5) or known
    return f': try {", ".join(near)}'
  if what.startswith('No configurable matching'):
    name = what.split("'")[1].lstrip('@').split('.')[-1]
    near = difflib.get_close_matches(name, trax_reformer_ext.__all__, 3, 0.5)
    if near:
      return f': try {", ".join("trax_reformer_ext." + n for n in near)}'
    return ': check the name, or import its module in the config'
  return ''


def _check_types():
  own = [f'trax_reformer_ext.{name}' for name in trax_reformer_ext.__all__]
  for selector in (*_TYPED, *own):
    try:
      parameters = inspect.signature(gin.get_configurable(selector)).parameters
      bindings = gin.get_bindings(selector, resolve_references=False)
    except (ValueError, KeyError):
      continue  # not a configurable
    for name, value in bindings.items():
      if name in parameters and name not in _UNTYPED:
        _check_type(f'{selector}.{name}', value, parameters[name].default)


def _check_type(name, value, default):
  if type(value).__name__ == 'ConfigurableReference' or value is None:
    return
  types = {
    bool: (bool,),
    int: (int,),
    float: (int, float),
    str: (str,),
    tuple: (tuple, list),
  }
  allowed = types.get(type(default))
  if allowed is None:
    return
  is_bool = isinstance(value, bool) and bool not in allowed
  if is_bool or not isinstance(value, allowed):
    kinds = ' or '.join(t.__name__ for t in allowed)
    raise ReformerError(f'{name} is {value!r}: give {kinds}')

"""Models read, written and loaded in every format that is known."""

import contextlib
import os
import shutil
import tempfile

from trax_reformer_ext.data.tokens import VOCAB_SIZE as BYTE_IDS
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.interop import (
  Description,
  build,
  gin_config,
  huggingface,
  tensors,
  trax_files,
)
from trax_reformer_ext.interop.weights import (
  name_flat,
  names_of,
  set_weights,
  shapes_of,
  signature_of,
)
from trax_reformer_ext.training import checkpoints, run_dir

FORMATS = ('run', 'huggingface', 'safetensors', 'trax')


def load_model(path, mode='eval', config='', **overrides):
  """Returns an initialised model with the weights of a file or directory.

  Of a run of this package, a language model of Hugging Face's (config.json
  with its weights), a safetensors file of trax-reformer convert, or a
  checkpoint of Trax. The model returns logits for any batch, whatever its
  loss_chunk_size and n_micro_batches, unless they are among the overrides.

  Args:
    path: str.
    mode: 'train', 'eval' or 'predict'.
    config: str, gin bindings that win over those of the path, as for a
      checkpoint of Trax without a config.gin beside it.
    **overrides: arguments of the model's constructor that win over both.

  Returns:
    A Trax layer: ReformerLM or Reformer.

  Raises:
    ReformerError: the path holds no model, or not all of one.
  """
  path = os.path.expanduser(os.fspath(path))
  description, _ = read(path, config)
  overrides = {'loss_chunk_size': 0, 'n_micro_batches': 1} | overrides
  model = build(description, mode, **overrides)
  model.init(signature_of(description, overrides['n_micro_batches']))
  set_weights(model, description.weights, path)
  return model


def convert(source, target, form, config='', overwrite=False):
  """Writes the model of a file or directory in another format.

  The target is seen when it is complete.

  Args:
    source: str, as of load_model.
    target: str, a directory, or for the form 'safetensors' a file; for 'trax' a
      directory, or a file whose name ends in .pkl.gz.
    form: str, one of FORMATS.
    config: str, as of load_model.
    overwrite: bool, replace a target that holds a model.

  Returns:
    (Description, list of notices).

  Raises:
    ReformerError: a source that can't be read, something that the form does
      not have, or a target that can't be written.
  """
  source, target = (os.path.expanduser(x) for x in (source, target))
  target = os.path.abspath(target)
  _check_target(target, form, overwrite)
  description, notices = read(source, config)
  part = f'{target}.part'
  is_file = form == 'safetensors' or (
    form == 'trax' and target.endswith('.pkl.gz')
  )
  try:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    _remove(part)
    if not is_file:
      os.mkdir(part)
    notices = notices + _write(description, part, form, source)
    _replace(part, target)
  except OSError as e:
    raise ReformerError(
      f'--to is {target!r}, which cannot be written ({e.strerror or e}): '
      'choose another one'
    ) from e
  finally:
    with contextlib.suppress(OSError):
      _remove(part)
  return description, notices


def read(path, config=''):
  """The model of a file or directory.

  Args:
    path: str, as of load_model.
    config: str, as of load_model.

  Returns:
    (Description, list of notices).

  Raises:
    ReformerError: as load_model.
  """
  form, notices = format_of(path), []
  if form == 'trax':
    return trax_files.read(path, config), notices
  if form == 'run':
    return _read_run(path, config), notices
  if form == 'huggingface':
    description, notices = huggingface.read(path)
  else:
    description = tensors.read_model(path)
  if config.strip():
    text = gin_config.write(description.model, description.arguments, '')
    model, arguments = gin_config.read(f'{text}\n{config}', path)
    description = description._replace(model=model, arguments=arguments)
  return description, notices


def read_for(model, path):
  """The weights of a file or directory that are a model's.

  Those of a run or of Trax need no config: they are taken in their order.

  Args:
    model: initialised Trax layer.
    path: str, as of load_model.

  Returns:
    dict from names to arrays.

  Raises:
    ReformerError: as load_model, or weights that are not the model's.
  """
  path = os.path.expanduser(path)
  form = format_of(path)
  if form in ('huggingface', 'safetensors'):
    return read(path)[0].weights
  if form == 'run':
    arrays = run_dir.read_weights(path)
  else:
    arrays = trax_files.read_arrays(path)
  names = names_of(model)
  names += [f'weight {i}' for i in range(len(names), len(arrays))]
  return dict(zip(names, arrays, strict=False))


def format_of(path):
  """Which of FORMATS a file or directory has.

  Raises:
    ReformerError: none of them, or nothing is there.
  """
  path = os.path.expanduser(path)
  if os.path.isdir(path):
    if os.path.isfile(os.path.join(path, huggingface.CONFIG)):
      return 'huggingface'
    if run_dir.is_run(path):
      return 'run'
    if trax_files.find_pickle(path):
      return 'trax'
  elif path.endswith('.safetensors') and os.path.isfile(path):
    return 'safetensors'
  elif trax_files.find_pickle(path):
    return 'trax'
  what = 'holds no model' if os.path.exists(path) else 'is not there'
  raise ReformerError(
    f'{path!r} {what}: give the directory of a run, one of Hugging Face '
    'with config.json, a checkpoint of Trax (model.pkl.gz) or a .safetensors '
    'file of trax-reformer convert'
  )


def _read_run(path, config):
  own = run_dir.config_path(path)
  with open(own, encoding='utf-8', errors='replace') as f:
    text = f'{f.read()}\n{config}'
  model, arguments = gin_config.read(text, own)
  description = Description(model, arguments, {})
  weights = run_dir.read_weights(path)
  named = name_flat(weights, shapes_of(description), path)
  return description._replace(weights=named)


def _write(description, path, form, source):
  """Writes to a path where nothing is, but the directory of a format."""
  if form == 'huggingface':
    return huggingface.write(description, path)
  if form == 'safetensors':
    tensors.write_model(description, path)
  elif form == 'trax':
    trax_files.write(description, path)
  else:
    _write_run(description, path, source)
  return []


def _write_run(description, path, source):
  comment = f'Converted from {os.path.basename(os.path.abspath(source))}.'
  text = gin_config.write(description.model, description.arguments, comment)
  arguments = description.arguments
  if arguments.get('causal') and arguments['vocab_size'] == BYTE_IDS:
    text += 'train.inputs = @trax_reformer_ext.text_inputs\n'
  with open(
    os.path.join(path, run_dir.FULL_CONFIG), 'w', encoding='utf-8'
  ) as f:
    f.write(text)
  weights = list(description.weights.values())
  with contextlib.closing(checkpoints.CheckpointStore(path)) as store:
    store.save(checkpoints.Saved(0, weights, {}, {}))


def _check_target(target, form, overwrite):
  if form not in FORMATS:
    raise ReformerError(
      f'--format is {form!r}: give one of {", ".join(FORMATS)}'
    )
  if form == 'safetensors' and not target.endswith('.safetensors'):
    raise ReformerError(
      f'--to is {target!r}, but a file of --format=safetensors has a name that '
      'ends in .safetensors'
    )
  if not os.path.lexists(target):
    return
  if not overwrite:
    raise ReformerError(
      f'--to is {target!r}, which exists: choose another one, or replace it by '
      '--overwrite'
    )
  try:
    format_of(target)
  except ReformerError as e:
    raise ReformerError(
      f'--to is {target!r}, which holds no model: --overwrite replaces models '
      'alone; choose another one'
    ) from e


def _replace(part, target):
  """Puts what was written in the place of what may be there."""
  with tempfile.TemporaryDirectory(dir=os.path.dirname(target)) as aside:
    if os.path.lexists(target):
      os.replace(target, os.path.join(aside, 'old'))
    os.replace(part, target)


def _remove(path):
  if os.path.isdir(path) and not os.path.islink(path):
    shutil.rmtree(path)
  elif os.path.lexists(path):
    os.remove(path)

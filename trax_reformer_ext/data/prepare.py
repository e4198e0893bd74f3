"""Prepares a data set: trax-reformer prepare."""

import logging
import pathlib

import tensorflow_datasets as tfds
from absl import logging as absl_logging

from trax_reformer_ext.data import sources, writing
from trax_reformer_ext.data.builders import BUILDERS, base
from trax_reformer_ext.data.pairs import description
from trax_reformer_ext.data.prepare_translation import (
  add_vocabulary,
  tfds_builder,
)
from trax_reformer_ext.errors import ReformerError


def prepare(
  name,
  data_dir=None,
  manual_dir=None,
  length=None,
  path=None,
  skip_broken=False,
  **parameters,
):
  """Prepares a data set and prints what was written.

  Nothing is seen at the final place before all is written. A version that is
  there already is left as it is.

  Args:
    name: str, a data set, or one with its config, such as 'imagenet64/npz'; or
      a data set of TFDS with pairs of texts, such as 'wmt14_translate/de-en'.
    data_dir: str, where to write; None for TFDS's default.
    manual_dir: str, where source files lie; None for $REFORMER_DATA or, without
      it, data_dir/downloads/manual.
    length: int, bytes or tokens in a sequence; None for the default.
    path: str, the user's files.
    skip_broken: bool, whether images that can't be decoded are left out, or
      else an error.
    **parameters: of translation: its pairs of files, such as source and
      target; of TFDS's data sets: source and target, which are languages.

  Raises:
    ReformerError: a parameter, a source file or the disk won't do.
  """
  absl_logging.set_verbosity(absl_logging.ERROR)
  logging.getLogger('urllib3').setLevel(logging.ERROR)
  data_dir = pathlib.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
  manual_dir = _manual_dir(manual_dir, data_dir)
  parameters = dict(parameters, length=length, path=path)
  parameters = {k: v for k, v in parameters.items() if v is not None}
  in_the_way = data_dir / name.partition('/')[0]
  if in_the_way.is_file():
    raise ReformerError(
      f'--data_dir is {data_dir}, where the file {in_the_way.name} is in the '
      f'way of a folder of that name: use another one, with --manual_dir='
      f'{data_dir} if it is the source'
    )
  with writing.disk_errors(data_dir):
    if name.partition('/')[0] in BUILDERS:
      builder = _builder(name, data_dir, manual_dir, parameters, skip_broken)
      languages = {}
    else:
      builder, languages = tfds_builder(name, data_dir, parameters), parameters
    there = writing.write(builder, manual_dir)
    _announce(builder.info, there)
    if isinstance(builder, base.SequenceBuilder):
      _report(builder.info)
    else:
      add_vocabulary(builder, **languages)


def _manual_dir(manual_dir, data_dir):
  if manual_dir is None:
    return sources.manual_dir(data_dir)
  manual_dir = pathlib.Path(manual_dir).expanduser()
  if not manual_dir.is_dir():
    raise ReformerError(
      f'--manual_dir is {manual_dir}: there is no such folder'
    )
  return manual_dir


def _builder(name, data_dir, manual_dir, parameters, skip_broken):
  name, _, config = name.partition('/')
  cls = BUILDERS[name]
  for parameter, value in parameters.items():
    if parameter not in cls.CONFIG.parameter_names():
      raise ReformerError(
        f'--{parameter} is {value!r}, but {name} has no such parameter: leave '
        'it out'
      )
  if config:
    found = cls.get_builder_config(config)
    if parameters or not found:
      known = ', '.join(f'{name}/{c}' for c in cls.builder_configs) or name
      raise ReformerError(
        f'NAME is {name}/{config}: give one of {known}, and no further '
        'parameters with it'
      )
    parameters = found.parameters
  elif 'path' not in parameters:
    parameters = {**cls.detect(manual_dir), **parameters}
  return cls(data_dir=str(data_dir), skip_broken=skip_broken, **parameters)


def _announce(info, there):
  what = 'is already there' if there else 'prepared'
  folder = pathlib.Path(info.data_dir)
  size = sum(f.stat().st_size for f in folder.iterdir() if f.is_file())
  name = '/'.join(filter(None, [info.name, info.config_name]))
  print(f'{name} {what}: {folder} ({size:,} bytes)')
  print(f'Data: {description(info)}')


def _report(info):
  metadata = info.metadata
  if metadata['n_broken']:
    names, more = metadata['broken'][:5], metadata['n_broken'] > 5
    print(
      f'Left out {metadata["n_broken"]:,} that do not decode: '
      f'{", ".join(names)}{", ..." if more else ""}'
    )
  (length,) = info.features['inputs'].shape
  for split, n_tokens in metadata['n_tokens'].items():
    n = info.splits[split].num_examples
    print(
      f'  {split:<11}{n:>10,} sequences of {length:,} {n_tokens:>16,} tokens'
      f'{_of_bytes(metadata, split)}'
    )


def _of_bytes(metadata, split):
  """What the tokens of a split were made of, where they are not bytes."""
  if 'n_bytes' not in metadata:
    return ''
  n_unknown = metadata['n_unknown'][split]
  unknown = f' ({n_unknown:,} unknown)' if n_unknown else ''
  return f'{unknown} for {metadata["n_bytes"][split]:,} bytes'

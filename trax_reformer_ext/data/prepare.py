"""Prepares a data set: trax-reformer prepare."""

import contextlib
import errno
import fcntl
import io
import logging
import os
import pathlib
import shutil
import sys

import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging as absl_logging

from trax_reformer_ext.data import sources
from trax_reformer_ext.data.builders import BUILDERS
from trax_reformer_ext.errors import ReformerError


def prepare(
  name,
  data_dir=None,
  manual_dir=None,
  length=None,
  path=None,
  skip_broken=False,
):
  """Prepares a data set and prints what was written.

  Nothing is seen at the final place before all is written. A version that is
  there already is left as it is.

  Args:
    name: str, a data set, or one with its config, such as 'imagenet64/npz'.
    data_dir: str, where to write; None for TFDS's default.
    manual_dir: str, where source files lie; None for $REFORMER_DATA or, without
      it, data_dir/downloads/manual.
    length: int, bytes in a sequence; None for the default.
    path: str, the user's files.
    skip_broken: bool, whether images that can't be decoded are left out, or
      else an error.

  Raises:
    ReformerError: a parameter, a source file or the disk won't do.
  """
  absl_logging.set_verbosity(absl_logging.ERROR)
  logging.getLogger('urllib3').setLevel(logging.ERROR)
  data_dir = pathlib.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
  if manual_dir is not None:
    manual_dir = pathlib.Path(manual_dir).expanduser()
    if not manual_dir.is_dir():
      raise ReformerError(
        f'--manual_dir is {manual_dir}: there is no such folder'
      )
  else:
    manual_dir = sources.manual_dir(data_dir)
  parameters = {
    k: v for k, v in (('length', length), ('path', path)) if v is not None
  }
  in_the_way = data_dir / name.partition('/')[0]
  if in_the_way.is_file():
    raise ReformerError(
      f'--data_dir is {data_dir}, where the file {in_the_way.name} is in the '
      f'way of a folder of that name: use another one, with --manual_dir='
      f'{data_dir} if it is the source'
    )
  try:
    builder = _builder(name, data_dir, manual_dir, parameters, skip_broken)
    folder = pathlib.Path(builder.data_dir)
    there = folder.exists()
    if there:
      _check_same_files(builder)
    else:
      with _alone(folder):
        if folder.exists():
          raise ReformerError(
            f'{folder} was prepared by another process meanwhile: nothing is '
            'left to do'
          )
        _write(builder, manual_dir)
  except Exception as e:
    reason = _of_the_disk(e)
    if reason is None:
      raise
    raise ReformerError(
      f'--data_dir is {data_dir}, but it cannot be written ({reason}): nothing '
      'was prepared'
    ) from e
  _report(builder.info, folder, there)


def _builder(name, data_dir, manual_dir, parameters, skip_broken):
  name, _, config = name.partition('/')
  if name not in BUILDERS:
    raise ReformerError(
      f'NAME is {name!r}: give one of {", ".join(sorted(BUILDERS))}'
    )
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


@contextlib.contextmanager
def _alone(folder):
  """Keeps other processes from preparing the same; removes what they left."""
  folder.parent.mkdir(parents=True, exist_ok=True)
  with open(folder.parent / '.lock', 'w') as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
      raise ReformerError(
        f'{folder} is being prepared by another process: wait for it'
      ) from e
    for left in folder.parent.glob(f'incomplete.*_{folder.name}'):
      shutil.rmtree(left)
    yield


def _write(builder, manual_dir):
  config = tfds.download.DownloadConfig(
    manual_dir=str(manual_dir), try_download_gcs=False
  )
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()
  # TFDS announces itself with escape sequences.
  with contextlib.redirect_stdout(io.StringIO()):
    builder.download_and_prepare(download_config=config)


def _check_same_files(builder):
  if 'fingerprint' not in builder.info.metadata:
    raise ReformerError(
      f'{builder.data_dir} is damaged: remove it to prepare it anew'
    )
  now = builder.builder_config.fingerprint()
  if now != builder.info.metadata['fingerprint']:
    raise ReformerError(
      f'path {builder.builder_config.path} holds other files than when '
      f'{builder.data_dir} was prepared: remove that directory to prepare it '
      'anew'
    )


def _of_the_disk(e):
  """What the system says behind an exception, such as a full disk, or None."""
  while e is not None and not isinstance(e, ReformerError):
    if isinstance(e, tf.errors.ResourceExhaustedError):
      return os.strerror(errno.ENOSPC)
    if isinstance(e, (OSError, tf.errors.OpError)):
      return getattr(e, 'strerror', None) or str(e).splitlines()[0]
    e = e.__cause__ or e.__context__
  return None


def _report(info, folder, there):
  what = 'is already there' if there else 'prepared'
  size = sum(f.stat().st_size for f in folder.iterdir())
  metadata = info.metadata
  print(f'{info.name}/{info.config_name} {what}: {folder} ({size:,} bytes)')
  print(f'Data: {metadata["description"]}')
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
    )

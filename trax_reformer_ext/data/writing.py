"""Writes prepared data so that nobody sees a part of it."""

import contextlib
import errno
import fcntl
import io
import os
import pathlib
import shutil
import sys

import tensorflow as tf
import tensorflow_datasets as tfds

from trax_reformer_ext.data.builders import base
from trax_reformer_ext.errors import ReformerError


def write(builder, manual_dir):
  """Writes the data set of a builder, unless it is there already.

  Args:
    builder: tfds.core.DatasetBuilder.
    manual_dir: pathlib.Path, where source files lie.

  Returns:
    bool, whether it was there.

  Raises:
    ReformerError: it is there from other files, or is damaged; another process
      is writing it; its sources won't do.
  """
  folder = pathlib.Path(builder.data_dir)
  if folder.exists():
    if isinstance(builder, base.OrderedBuilder):
      _check_same_files(builder)
    return True
  with alone(folder):
    _download_and_prepare(builder, manual_dir)
  return False


@contextlib.contextmanager
def alone(folder):
  """Keeps other processes from preparing the same; removes what they left.

  Args:
    folder: pathlib.Path of what is prepared; until it is complete it is called
      incomplete.*_{its name}.
  """
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
    if folder.exists():
      raise ReformerError(
        f'{folder} was prepared by another process meanwhile: nothing is '
        'left to do'
      )
    yield


@contextlib.contextmanager
def disk_errors(data_dir):
  """Says in one line when a folder can't be written, such as a full disk."""
  try:
    yield
  except Exception as e:
    reason = _of_the_disk(e)
    if reason is None:
      raise
    raise ReformerError(
      f'--data_dir is {data_dir}, but it cannot be written ({reason}): nothing '
      'was prepared'
    ) from e


def _download_and_prepare(builder, manual_dir):
  config = tfds.download.DownloadConfig(
    manual_dir=str(manual_dir), try_download_gcs=False
  )
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()
  # TFDS announces itself with escape sequences.
  with contextlib.redirect_stdout(io.StringIO()):
    try:
      builder.download_and_prepare(download_config=config)
    except Exception as e:
      # Whatever TFDS's own builders raise, but for errors of this disk.
      own = isinstance(builder, base.OrderedBuilder)
      if own or getattr(e, 'errno', None) or isinstance(e, tf.errors.OpError):
        raise
      raise ReformerError(
        f'{builder.info.full_name} cannot be prepared by TFDS '
        f'({type(e).__name__}: {str(e).splitlines()[0] if str(e) else ""}): '
        'see whether its sources can be reached'
      ) from e


def _check_same_files(builder):
  if 'fingerprint' not in builder.info.metadata:
    raise ReformerError(
      f'{builder.data_dir} is damaged: remove it to prepare it anew'
    )
  now = builder.builder_config.fingerprint()
  if now != builder.info.metadata['fingerprint']:
    raise ReformerError(
      f'path {" or ".join(builder.builder_config.paths)} holds other files '
      f'than when {builder.data_dir} was prepared: remove that directory to '
      'prepare it anew'
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

"""Files of a run: configs and weights in its output directory."""

import os
import pathlib

import filelock
import gin
import jax

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.files import written_beside
from trax_reformer_ext.interop.trax_files import read_flat
from trax_reformer_ext.training import checkpoints

FULL_CONFIG = 'config_full.gin'
OPERATIVE_CONFIG = 'config.gin'
WEIGHTS = 'model.weights.npy.gz'


def write_configs(folder):
  """Writes what was configured, and what of it (with defaults) is in use."""
  _write(folder, FULL_CONFIG, gin.config_str())
  _write(folder, OPERATIVE_CONFIG, gin.operative_config_str())


def config_path(folder):
  """The config to rebuild a run from."""
  for name in (FULL_CONFIG, OPERATIVE_CONFIG):
    path = pathlib.Path(folder) / name
    if path.is_file():
      return str(path)
  raise ReformerError(
    f'--output_dir is {str(folder)!r}, which holds no {FULL_CONFIG}: give the '
    'directory of a run of trax-reformer train'
  )


def is_run(folder):
  """Whether a folder is the output directory of a run of this package."""
  folder = pathlib.Path(folder)
  return (folder / FULL_CONFIG).is_file() or (folder / 'checkpoints').is_dir()


def lock(folder):
  """Makes a run's directory and keeps other runs out of it.

  Returns:
    A lock, held until release() or the end of the process; acquire() takes it
    again.

  Raises:
    ReformerError: another run holds it, or the directory can't be written.
  """
  if jax.process_index() > 0:
    return None  # the chief's is for all hosts
  try:
    os.makedirs(folder, exist_ok=True)
    held = filelock.FileLock(os.path.join(folder, '.lock'), timeout=0)
    held.acquire()
  except filelock.Timeout:
    raise ReformerError(
      f'--output_dir is {str(folder)!r}, in which another run is training: '
      'wait for its end, or choose another directory'
    ) from None
  except OSError as e:
    raise ReformerError(
      f'--output_dir is {str(folder)!r}, which cannot be written '
      f'({e.strerror}): choose another one'
    ) from e
  return held


def has_weights(folder):
  """Whether a checkpoint has been written there."""
  if checkpoints.find_last(folder) is not None:
    return True
  return (pathlib.Path(folder) / WEIGHTS).is_file()


def read_weights(folder):
  """The weights of a run's last checkpoint, as a flat list of arrays.

  Or those of files of Trax's. Nothing is unpickled.

  Raises:
    ReformerError: no checkpoint, or one that is cut off.
  """
  step = checkpoints.find_last(folder, say=checkpoints.warn)
  if step is not None:
    return checkpoints.read_weights(folder, step)
  path = pathlib.Path(folder) / WEIGHTS
  if not path.is_file():
    raise ReformerError(
      f'--output_dir is {str(folder)!r}, which holds no checkpoint: train '
      'until the first one is written'
    )
  return read_flat(path)


def _write(folder, name, text):
  path = os.path.join(folder, name)
  with written_beside(path) as part, open(part, 'w', encoding='utf-8') as f:
    f.write(text)

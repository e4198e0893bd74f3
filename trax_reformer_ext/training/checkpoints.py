"""Checkpoints of a run, written by Orbax and complete with their manifest.

A run's directory has one folder a checkpoint, checkpoints/<step>, with the
items 'weights', 'training' (optimizer slots, states, random key) and 'run'
(history, position in the data, gin config).
"""

import contextlib
import dataclasses
import logging
import math
import pathlib
import shutil
import sys
from concurrent import futures
from typing import NamedTuple

import gin
import jax
import numpy as np

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.training import hosts, manifest

_FOLDER = 'checkpoints'
_DAMAGED = 'damaged_checkpoints'


@gin.configurable(module='trax_reformer_ext')
@dataclasses.dataclass(frozen=True)
class Checkpoints:
  """What is kept of a run, and when it stops.

  Beside the last checkpoints those stay that train.permanent_checkpoint_*
  names, and the best ones by train.checkpoint_lowest and _highest.

  Attributes:
    keep_last: int, checkpoints to keep, at least 1.
    stop_on_failed_save: bool, end the run where a checkpoint can't be written,
      as on a full disk, in place of going on to the next one.
    max_bad_steps: int, steps in a row with a loss or gradient that is not
      finite to leave out, before the run stops.
    trax_format: bool, write Trax's model.pkl.gz and the files beside it too.
  """

  keep_last: int = 2
  stop_on_failed_save: bool = False
  max_bad_steps: int = 0
  trax_format: bool = False

  def __post_init__(self):
    for name, least in (('keep_last', 1), ('max_bad_steps', 0)):
      value = getattr(self, name)
      if type(value) is not int or value < least:
        raise ReformerError(
          f'Checkpoints.{name} is {value!r}: give an int of at least {least}'
        )


class SaveError(ReformerError):
  """A checkpoint could not be written."""


class Saved(NamedTuple):
  """A checkpoint.

  Attributes:
    step: int.
    weights: list of arrays, flat.
    training: dict from names to lists of arrays; empty where weights are all
      that is known, as of a model of another library.
    run: dict of JSON's types, empty likewise.
  """

  step: int
  weights: list
  training: dict
  run: dict


class CheckpointStore:
  """Writes the checkpoints of one run, on a thread of its own.

  With several hosts, which share the directory, all of them call save.
  """

  def __init__(self, folder, keep_last=2, lowest=None, highest=None):
    """Nothing is written yet.

    Args:
      folder: path, the run's directory.
      keep_last: int, checkpoints to keep.
      lowest: str, metric whose lowest value keeps its checkpoint; or None.
      highest: str, the same for the highest value; or None.
    """
    self._folder = pathlib.Path(folder) / _FOLDER
    self._damaged = pathlib.Path(folder) / _DAMAGED
    self._keep = dict(keep_last=keep_last, lowest=lowest, highest=highest)
    self._manager = self._pending = self._thread = None
    self.last_step = None

  def open(self):
    """Reads the last complete checkpoint and makes room for those after it.

    Later folders that are not complete are removed, damaged ones moved away.

    Returns:
      Saved, or None for a new run.

    Raises:
      ReformerError: there are damaged checkpoints and no other.
    """
    step = None
    if jax.process_index() == 0:
      step = find_last(self._folder.parent, say=warn)
      for other in _steps(self._folder):
        if step is None or other > step or not _is_done(self._folder, other):
          self._clear(other)
    self.last_step = hosts.same_on_all(step)
    if self.last_step is None:
      return None
    return read(self._folder.parent, self.last_step)

  def save(self, saved, permanent=False, metrics=None):
    """Starts to write a checkpoint, after the one before has been written.

    Args:
      saved: Saved.
      permanent: bool, keep it whatever comes later.
      metrics: dict from names to floats.

    Raises:
      SaveError: this one, or the one before, could not be written.
    """
    import orbax.checkpoint as ocp

    self.wait()
    items = {
      'weights': ocp.args.StandardSave(_named({'': saved.weights})),
      'run': ocp.args.JsonSave(saved.run),
    }
    if saved.training:
      items['training'] = ocp.args.StandardSave(_named(saved.training))
    items = ocp.args.Composite(**items)
    about = {'permanent': permanent, 'metrics': metrics or {}}
    try:
      _check_space(self._folder.parent, saved)
      if self._manager is None:
        _say_failures_once()
        options = ocp.CheckpointManagerOptions(
          cleanup_tmp_directories=True, save_root_metadata=False
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options)
        self._thread = futures.ThreadPoolExecutor(1, 'checkpoint')
      self._manager.save(saved.step, args=items, force=True)
    except Exception as e:
      self._give_up(saved.step, e)
    work = self._thread.submit(self._complete, saved.step, about)
    self._pending = saved.step, work

  def wait(self):
    """Waits until what was saved is complete.

    Raises:
      SaveError: it could not be written.
    """
    if self._pending is None:
      return
    (step, work), self._pending = self._pending, None
    try:
      work.result()
    except Exception as e:
      self._give_up(step, e)
    self.last_step = step

  def close(self):
    """Waits, and ends the thread.

    Raises:
      SaveError: the last checkpoint could not be written.
    """
    try:
      self.wait()
    finally:
      self._end()

  def _complete(self, step, about):
    """What follows the writing of Orbax, on the thread."""
    self._manager.wait_until_finished()
    if jax.process_index() == 0:
      manifest.write(self._folder / str(step), about)
      complete = {
        s: manifest.about(self._folder / str(s)) for s in self._done()
      }
      for old in set(complete) - steps_to_keep(complete, **self._keep):
        manifest.remove(self._folder / str(old))

  def _done(self):
    return [s for s in _steps(self._folder) if _is_done(self._folder, s)]

  def _clear(self, step):
    """Makes room for a checkpoint of this step."""
    if not _is_done(self._folder, step):
      shutil.rmtree(self._folder / str(step))
      return
    self._damaged.mkdir(exist_ok=True)
    n = sum(p.name.split('-')[0] == str(step) for p in self._damaged.iterdir())
    name = f'{step}-{n}' if n else str(step)
    (self._folder / str(step)).rename(self._damaged / name)

  def _give_up(self, step, e):
    """Frees what a failed save has written; a new manager starts clean."""
    with contextlib.suppress(Exception):
      self._end()
    if jax.process_index() == 0:
      for path in self._folder.glob(f'{step}*'):
        if path.name == str(step) or path.name.startswith(f'{step}.'):
          shutil.rmtree(path, ignore_errors=True)
    last = 'there is no other'
    if self.last_step is not None:
      last = f'the last good one is of step {self.last_step}'
    raise SaveError(
      f'the checkpoint of step {step} cannot be written ({_reason(e)}): {last}'
    ) from e

  def _end(self):
    thread, manager = self._thread, self._manager
    self._thread = self._manager = None
    if thread is not None:
      thread.shutdown()
      manager.close()


def steps_to_keep(complete, keep_last, lowest=None, highest=None):
  """Chooses checkpoints.

  Args:
    complete: dict from steps to what their manifests say about them.
    keep_last: int, how many of the last.
    lowest: str, metric; the checkpoint with its lowest value is kept, the last
      of several; or None.
    highest: str, the same for the highest value; or None.

  Returns:
    Set of steps.
  """
  keep = set(sorted(complete)[-keep_last:])
  keep |= {s for s, about in complete.items() if about.get('permanent')}
  for name, sign in ((lowest, -1), (highest, 1)):
    values = {s: about['metrics'].get(name) for s, about in complete.items()}
    scores = {
      s: (sign * v, s)
      for s, v in values.items()
      if v is not None and math.isfinite(v)
    }
    if scores:
      keep.add(max(scores, key=scores.get))
  return keep


def find_last(folder, say=None):
  """The step of the last complete checkpoint of a run.

  Args:
    folder: path, the run's directory.
    say: function of a line, told of each damaged checkpoint after it; or None.

  Returns:
    int; None where there is no checkpoint.

  Raises:
    ReformerError: there are damaged checkpoints and no other.
  """
  folder = pathlib.Path(folder) / _FOLDER
  damaged = []
  for step in sorted(_steps(folder), reverse=True):
    if not _is_done(folder, step):
      continue
    damage = manifest.find_damage(folder / str(step))
    if damage is None:
      for line in damaged if say else ():
        say(f'{line}: the one of step {step} is used')
      return step
    damaged.append(f'checkpoint {folder / str(step)} is damaged ({damage})')
  if damaged:
    raise ReformerError(
      f'{damaged[0]}, and there is no other: restore it from a copy, or delete '
      f'{folder} to start anew'
    )
  return None


def read(folder, step):
  """A checkpoint, as Saved.

  Args:
    folder: path, the run's directory.
    step: int.
  """
  path = pathlib.Path(folder).resolve() / _FOLDER / str(step)
  training = {}
  if (path / 'training').is_dir():
    for name, array in sorted(_read_arrays(path / 'training').items()):
      training.setdefault(name.rpartition('_')[0], []).append(array)
  return Saved(
    step, read_weights(folder, step), training, read_run(folder, step)
  )


def read_run(folder, step):
  """What a checkpoint holds beside arrays, as Saved.run."""
  path = pathlib.Path(folder).resolve() / _FOLDER / str(step)
  import orbax.checkpoint as ocp

  with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
    return reader.restore(path / 'run')


def read_weights(folder, step):
  """The weights of a checkpoint alone, as a flat list of arrays."""
  path = pathlib.Path(folder).resolve() / _FOLDER / str(step)
  return [array for _, array in sorted(_read_arrays(path / 'weights').items())]


def _read_arrays(path):
  import orbax.checkpoint as ocp

  with ocp.StandardCheckpointer() as reader:
    return reader.restore(path)


def _named(groups):
  """A flat dict of arrays, as which Orbax keeps their lists."""
  return {
    f'{group}_{i:06}': np.asarray(array)
    for group, arrays in groups.items()
    for i, array in enumerate(arrays)
  }


def _steps(folder):
  if not folder.is_dir():
    return []
  names = [p.name for p in folder.iterdir() if p.name.isdecimal()]
  return [int(name) for name in names if name == str(int(name))]


def _is_done(folder, step):
  return manifest.is_written(folder / str(step))


def _check_space(folder, saved):
  """Raises OSError where the arrays can't fit the disk, before any is written.

  On all hosts or on none, as they write together.

  Args:
    folder: path.
    saved: Saved.
  """
  arrays = [saved.weights, *saved.training.values()]
  needed = sum(np.asarray(x).nbytes for part in arrays for x in part)
  free = shutil.disk_usage(folder).free
  if hosts.any_of_all(free < needed):
    raise OSError(
      f'No space left on device: {needed:,} bytes to write, {free:,} free'
    )


def _say_failures_once():
  """Keeps libraries from showing each failed task of a save that is told of."""
  logging.getLogger('asyncio').setLevel(logging.CRITICAL)
  logging.getLogger('absl').addFilter(_is_no_error_of_orbax)


def _is_no_error_of_orbax(record):
  return record.levelno < logging.ERROR or 'orbax' not in record.pathname


def _reason(e):
  """The first line of what an exception says, without Orbax's own frames."""
  lines = [line for line in str(e).splitlines() if line.strip()]
  text = lines[0].strip() if lines else type(e).__name__
  full = 'No space left on device'
  if full in str(e) and (full not in text or len(text) > 200):
    text = full
  return text[:200]


def warn(line):
  """Says what a person should know and the program gets by."""
  print(f'warning: {line}', file=sys.stderr, flush=True)

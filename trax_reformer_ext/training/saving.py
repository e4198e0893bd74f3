"""Trax's training loop with checkpoints that a run goes on from."""

import contextlib
import os
import sys

import gin
import jax
import numpy as np
from trax.data import inputs as trax_inputs
from trax.supervised import history as trax_history
from trax.supervised import training

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.interop.weights import set_weights
from trax_reformer_ext.training import hosts, run_dir, snapshot
from trax_reformer_ext.training.checkpoints import (
  Checkpoints,
  CheckpointStore,
  Saved,
  SaveError,
)
from trax_reformer_ext.training.checks import check_weights
from trax_reformer_ext.training.conversion import read_for
from trax_reformer_ext.training.interruption import Stopped
from trax_reformer_ext.training.positions import CountedStream


class SavingLoop(training.Loop):
  """trax.supervised.training.Loop that goes on as if it had not stopped.

  Its checkpoints are complete or not there, and hold the random key, the
  position in the data and the history.
  """

  def __init__(
    self,
    model,
    tasks,
    eval_model,
    eval_tasks,
    output_dir,
    check_batch,
    checkpoint_low_metric=None,
    checkpoint_high_metric=None,
    init_checkpoint=None,
    **kwargs,
  ):
    """Takes the output directory for itself and reads the last checkpoint.

    Args:
      model: as Trax's.
      tasks: list, as Trax's.
      eval_model: as Trax's.
      eval_tasks: list, as Trax's.
      output_dir: as Trax's.
      check_batch: function of a batch, called with each.
      checkpoint_low_metric: as Trax's.
      checkpoint_high_metric: as Trax's.
      init_checkpoint: path of a model in any format, whose weights a new run
        starts with; None for random ones.
      **kwargs: as Trax's.

    Raises:
      ReformerError: another run has the directory, or what is there does not
        fit.
    """
    self._options, self._init_checkpoint = Checkpoints(), init_checkpoint
    for metric in (checkpoint_low_metric, checkpoint_high_metric):
      _check_metric(metric, eval_tasks)
    self._streams = [
      [CountedStream(task.labeled_data, check_batch) for task in part]
      for part in (tasks, eval_tasks)
    ]
    for task, stream in zip(
      tasks + eval_tasks, sum(self._streams, []), strict=True
    ):
      task._labeled_data = stream
    self._rng_of_run = self._due = self._saved_step = None
    self._is_running, self._store, self._lock = False, None, None
    if output_dir is not None:
      output_dir = os.path.expanduser(output_dir)
      self._lock = run_dir.lock(output_dir)
      self._store = CheckpointStore(
        output_dir,
        self._options.keep_last,
        checkpoint_low_metric,
        checkpoint_high_metric,
      )
    try:
      super().__init__(
        model,
        tasks,
        eval_model,
        eval_tasks,
        output_dir=output_dir,
        checkpoint_low_metric=checkpoint_low_metric,
        checkpoint_high_metric=checkpoint_high_metric,
        **kwargs,
      )
    except BaseException:
      self.close()
      raise
    if self._rng_of_run is None:
      self._rng_of_run = self._rng

  def close(self):
    """Waits for the last checkpoint and lets go of the output directory.

    Raises:
      SaveError: the last checkpoint could not be written.
    """
    try:
      if self._store is not None:
        self._store.close()
    finally:
      if self._lock is not None:
        self._lock.release()

  def run(self, n_steps=1):
    """As Trax's, with a checkpoint at the end.

    Raises:
      Stopped: by a step; what was done is saved.
      SaveError: a checkpoint could not be written, as Checkpoints has it, or
        at the end.
    """
    if self._lock is not None and not self._lock.is_locked:
      self._lock.acquire()
    self._is_running = True
    try:
      super().run(n_steps)
      self.save_and_wait()
    except Stopped as e:
      self.save_and_wait()
      saved = ', which is saved: the same command goes on from there'
      where = f'stopped at step {self.step}{saved if self._store else ""}'
      raise Stopped(where, e.signum) from None
    except Exception as e:
      if self._store is not None:
        hosts.end_if_one_is_lost(e, self._store.last_step)
      with contextlib.suppress(SaveError):
        self._save_due()
      raise
    finally:
      self._is_running = False
      self.close()

  def save_and_wait(self):
    """Saves this step, if that is not done.

    Raises:
      SaveError: it could not be written.
    """
    if self._store is not None:
      self._due = self._due or (self.step, False)
      self._save_due()
      self._store.close()

  def save_checkpoint(self, basename):
    """Saves this step, when all that belongs to it is done.

    In a run that is before the next step, so that the evaluation of this one
    is in the checkpoint's history and decides whether it is among the best.

    Args:
      basename: str, as Trax's; another one than 'model' keeps the checkpoint,
        unless it stands for a metric.
    """
    if self._store is None:
      return
    permanent = basename != 'model' or bool(self._due and self._due[1])
    self._due = self.step, permanent
    if not self._is_running:
      self._save_due()
      self._store.wait()

  def _at_lowest(self):
    return False  # the store keeps the best

  _at_highest = _at_lowest

  def _save_due(self):
    if self._due is None:
      return
    (step, permanent), self._due = self._due, None
    if step == self._saved_step:
      return
    weights, arrays = snapshot.take(
      self._model, self._eval_model, self._trainer_per_task, self._rng_of_run
    )
    history = _json_of(self._history)
    run = {
      'history': history,
      'positions': [[s.n_batches for s in part] for part in self._streams],
      'trax_data_counters': trax_inputs.data_counters,
      'gin_config': gin.config_str(),
      'jax': jax.__version__,
    }
    metrics = {
      name.removeprefix('metrics/'): values[-1][1]
      for name, values in history.get('eval', {}).items()
      if values[-1][0] == step
    }
    try:
      # An earlier one that could not be written is said, and this one tried.
      with self._goes_on():
        self._store.wait()
      with self._goes_on():
        self._store.save(Saved(step, weights, arrays, run), permanent, metrics)
        self._saved_step = step
    finally:
      if self._options.trax_format and self.is_chief:
        self._write_in_traxs_format(step)

  @contextlib.contextmanager
  def _goes_on(self):
    """Says that a checkpoint can't be written, or raises, as configured."""
    try:
      yield
    except SaveError as e:
      if self._options.stop_on_failed_save or not self._is_running:
        raise
      print(f'warning: {e}; training goes on', file=sys.stderr, flush=True)

  def _write_in_traxs_format(self, step):
    """Writes model.pkl.gz and the files beside it, each renamed at its end."""
    folder, now = self._output_dir, self._step
    part = os.path.join(folder, 'trax_format.part')
    os.makedirs(part, exist_ok=True)
    self._output_dir, self._step = part, step
    try:
      super().save_checkpoint('model')
    finally:
      self._output_dir, self._step = folder, now
    # Whoever finds the first file finds the others.
    for name in sorted(os.listdir(part), key=lambda n: n == 'model.pkl.gz'):
      os.replace(os.path.join(part, name), os.path.join(folder, name))
    os.rmdir(part)

  def load_checkpoint(self, directory=None, filename=None):
    """Goes on from the last checkpoint, or from files of Trax's.

    A new run starts from train.init_checkpoint, where that is given.

    Args:
      directory: path with files of Trax's; None for the run's own checkpoints.
      filename: str, name of such files, without the ending; None for 'model'.
    """
    if directory is None and filename is None and self._store is not None:
      saved = self._store.open()
      if saved is not None:
        self._go_on_from(saved)
        return
    folder = directory or self._output_dir
    if filename is None and folder and run_dir.has_weights(folder):
      check_weights(self._model, run_dir.read_weights(folder), folder)
    elif directory is None and filename is None and self._init_checkpoint:
      start = self._init_checkpoint
      where = f'train.init_checkpoint {start!r}'
      set_weights(self._model, read_for(self._model, start), where)
      self._eval_model.weights = self._model.weights
      return
    super().load_checkpoint(directory, filename)

  def _go_on_from(self, saved):
    if not saved.training:  # converted
      models = self._model, self._eval_model
      snapshot.put_weights(saved.weights, *models, self._output_dir)
      self._step = self._saved_step = saved.step
      return
    self._rng_of_run = snapshot.put(
      saved,
      self._model,
      self._eval_model,
      self._trainer_per_task,
      self._output_dir,
    )
    self._step = self._saved_step = saved.step
    self._history = history_of(saved.run['history'])
    trax_inputs.data_counters = saved.run['trax_data_counters']
    for part, positions in zip(
      self._streams, saved.run['positions'], strict=True
    ):
      for stream, position in zip(part, positions, strict=False):
        stream.go_on_at(position)


def _check_metric(name, eval_tasks):
  names = sorted({name for task in eval_tasks for name in task.metric_names})
  if name is not None and name not in names:
    raise ReformerError(
      f'train.checkpoint_lowest or _highest is {name!r}: give one of '
      f'{", ".join(names)}'
    )


def _json_of(history):
  """The scalars of a history, as from_dict takes them."""
  return {
    mode: {
      name: [(int(s), float(v)) for s, v in values if np.ndim(v) == 0]
      for name, values in of_mode.items()
    }
    for mode, of_mode in history.to_dict()['_values'].items()
  }


def history_of(scalars):
  """The history of a checkpoint's scalars."""
  history = trax_history.History()
  for mode, of_mode in scalars.items():
    for name, values in of_mode.items():
      for step, value in values:
        history.append(mode, name, step, value)
  return history

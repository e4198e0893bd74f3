"""Trax's training loop, with checks before it and progress during it."""

import contextlib
import logging
import math
import os
import resource
import signal
import sys

import gin
import jax
import numpy as np
from trax import layers as tl
from trax import shapes
from trax.data import inputs as trax_inputs
from trax.supervised import history as trax_history
from trax.supervised import training

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.files import written_beside
from trax_reformer_ext.training import hosts, run_dir, snapshot
from trax_reformer_ext.training.checkpoints import (
  Checkpoints,
  CheckpointStore,
  Saved,
  SaveError,
)
from trax_reformer_ext.training.checks import (
  check_ids,
  check_loss,
  check_weights,
  find_vocab_sizes,
)
from trax_reformer_ext.training.data_parallel import Devices, Trainer
from trax_reformer_ext.training.interruption import Interruption, Stopped
from trax_reformer_ext.training.positions import CountedStream
from trax_reformer_ext.training.progress import Progress
from trax_reformer_ext.training.summaries import SummaryWriter

_LOG = logging.getLogger('trax_reformer_ext')


class Loop(training.Loop):
  """trax.supervised.training.Loop that a person can watch and rely on.

  Checks that the loss fits the model, that token ids are in the vocabulary
  and that the output directory holds no other model's run, before anything is
  written; shows progress; writes bits per dim and both configs.

  Trains on all devices, and hosts, together. Its checkpoints are complete or
  not there, hold the random key and the position in the data, and a run that
  goes on from one does what it would have done without a stop.
  """

  def __init__(
    self,
    model,
    tasks,
    eval_model=None,
    eval_tasks=None,
    output_dir=None,
    checkpoint_low_metric=None,
    checkpoint_high_metric=None,
    n_devices=None,
    random_seed=None,
    use_memory_efficient_trainer=False,
    adasum=False,
    **kwargs,
  ):
    """As Trax's.

    Args:
      model: as Trax's.
      tasks: as Trax's.
      eval_model: as Trax's.
      eval_tasks: as Trax's.
      output_dir: as Trax's.
      checkpoint_low_metric: as Trax's.
      checkpoint_high_metric: as Trax's.
      n_devices: int, devices of this host; None for all that are visible.
      random_seed: int; None for another one each time.
      use_memory_efficient_trainer: as Trax's; on one device.
      adasum: as Trax's; on one device, where it means nothing.
      **kwargs: as Trax's.

    Raises:
      ReformerError: what does not go together, by name.
    """
    tasks, eval_tasks = _as_list(tasks), _as_list(eval_tasks)
    self._options = Checkpoints()
    self._devices = Devices(n_devices)
    self._devices.check_options(use_memory_efficient_trainer, adasum)
    for metric in (checkpoint_low_metric, checkpoint_high_metric):
      _check_metric(metric, eval_tasks)
    vocab_sizes = find_vocab_sizes(model)
    check = lambda batch: check_ids(batch, vocab_sizes)
    for task in tasks + eval_tasks:
      check(task.sample_batch)
    for task in tasks:
      check_loss(model, task.loss_layer)
    self._streams = [
      [CountedStream(task.labeled_data, check) for task in part]
      for part in (tasks, eval_tasks)
    ]
    for task, stream in zip(
      tasks + eval_tasks, sum(self._streams, []), strict=True
    ):
      task._labeled_data = stream
    self._progress = self._rng_of_run = self._due = None
    self._saved_step = None
    self._n_bad, self._last_good, self._n_tokens = 0, None, 0
    self._store = self._lock = None
    if output_dir is not None:
      output_dir = os.path.expanduser(output_dir)
      self._lock = run_dir.lock(output_dir)
      self._store = CheckpointStore(
        output_dir,
        self._options.keep_last,
        checkpoint_low_metric,
        checkpoint_high_metric,
      )
    if random_seed is None and jax.process_count() > 1:
      random_seed = hosts.same_on_all(int.from_bytes(os.urandom(4)) >> 1)
    try:
      super().__init__(
        model,
        tasks,
        eval_model,
        eval_tasks,
        output_dir=output_dir,
        checkpoint_low_metric=checkpoint_low_metric,
        checkpoint_high_metric=checkpoint_high_metric,
        n_devices=1,  # as far as Trax's own code is concerned
        random_seed=random_seed,
        use_memory_efficient_trainer=use_memory_efficient_trainer,
        adasum=adasum,
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
      Stopped: SIGINT or SIGTERM has come; the step was finished and saved.
      ReformerError: too many steps whose loss is not finite; a checkpoint
        could not be written, as Checkpoints has it, or at the end.
    """
    if self._lock is not None and not self._lock.is_locked:
      self._lock.acquire()
    sizes = [
      w.size for w in tl.flatten_weights_and_state(self._model.weights, ())[0]
    ]
    self._progress = Progress(
      self.step, self.step + n_steps, shown=self.is_chief
    )
    self._progress.say(
      f'Training {self._model.name}: {sum(sizes):,} weights, steps '
      f'{self.step + 1} to {self.step + n_steps}'
    )
    if self._output_dir is not None and self.is_chief:
      run_dir.write_configs(self._output_dir)
    try:
      with Interruption() as self._interruption:
        try:
          super().run(n_steps)
        except Stopped as e:
          raise self._saved_at_the_end(e) from None
        except Exception as e:
          if self._store is not None:
            hosts.end_if_one_is_lost(e, self._store.last_step)
          with contextlib.suppress(SaveError):
            self._save_due()
          raise
        self._saved_at_the_end()
    finally:
      self._progress.close()
      self._progress = None
      self.close()

  def _saved_at_the_end(self, stopped=None):
    """Saves this step; a Stopped that says so, where one is given."""
    if self._store is None:
      return stopped and Stopped(f'stopped at step {self.step}', stopped.signum)
    self._due = self._due or (self.step, False)
    self._save_due()
    self._store.close()
    return stopped and Stopped(
      f'stopped at step {self.step}, which is saved: the same command goes on '
      'from there',
      stopped.signum,
    )

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
    if self._progress is None:
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
      if self._options.stop_on_failed_save or self._progress is None:
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
    super().load_checkpoint(directory, filename)

  def _go_on_from(self, saved):
    self._rng_of_run = snapshot.put(
      saved,
      self._model,
      self._eval_model,
      self._trainer_per_task,
      self._output_dir,
    )
    self._step = self._saved_step = saved.step
    self._history = _history_of(saved.run['history'])
    trax_inputs.data_counters = saved.run['trax_data_counters']
    for part, positions in zip(
      self._streams, saved.run['positions'], strict=True
    ):
      for stream, position in zip(part, positions, strict=False):
        stream.go_on_at(position)

  def _init_trainer(self, task):
    if self._use_memory_efficient_trainer:
      return super()._init_trainer(task)
    model = training._model_with_ends(
      self._model, [task.loss_layer], shapes.signature(task.sample_batch)
    )
    task.optimizer.tree_init(model.weights)
    return Trainer(model, task.optimizer, self._devices)

  def _init_evaluator(self, eval_task):
    evaluator = super()._init_evaluator(eval_task)
    if self._use_memory_efficient_trainer:
      return evaluator
    devices, metrics_fn = self._devices, evaluator.metrics_fn

    def measure(batch, weights, state, rng):
      batch = devices.split_copies(batch)
      weights, state = devices.same((weights, state))
      with devices.in_use():
        return metrics_fn(batch, weights, state, np.asarray(rng))

    return evaluator._replace(metrics_fn=measure)

  def _run_one_step(self, task_index, task_changed):
    self._save_due()
    # The randomness of a step is a function of its number.
    self._rng = jax.random.fold_in(self._rng_of_run, self.step)
    loss, stats = super()._run_one_step(task_index, task_changed)
    stats = dict(stats)
    batch = self._streams[0][task_index].batch
    if stats.pop('finite', True) and np.isfinite(loss):
      self._n_bad, self._last_good = 0, (loss, stats)
    else:
      loss, stats = self._left_out(loss, batch)
    if self._progress is not None:
      n_tokens = self._count(batch)
      self._n_tokens += n_tokens
      self._progress.update(self.step, loss, n_tokens)
      signum = self._interruption.signum
      if hosts.any_of_all(signum is not None):
        raise Stopped('', signum or signal.SIGTERM)
    return loss, stats

  def _left_out(self, loss, batch):
    """The figures of the last good step, for one that changed nothing.

    Raises:
      ReformerError: there were too many, or none to go on from.
    """
    self._n_bad += 1
    most = self._options.max_bad_steps
    skips = not self._use_memory_efficient_trainer
    figure = (
      'gradient is not finite' if np.isfinite(loss) else f'loss is {loss}'
    )
    if skips and self._n_bad <= most and self._last_good is not None:
      self._progress.say(
        f'step {self.step}  {figure}: left out, {self._n_bad} in a row of '
        f'{most} that may be'
      )
      return self._last_good
    kept = where = ''
    if self._store is not None:
      self._store.wait()
      kept = ', no checkpoint is written'
      if self._store.last_step is not None:
        kept = f', the last good checkpoint is of step {self._store.last_step}'
      path = os.path.join(self._output_dir, f'bad_batch_step_{self.step}.npz')
      where = f', the batch is in {path}'
      with written_beside(path) as part, open(part, 'wb') as f:
        np.savez(f, *[np.asarray(x) for x in batch])
    raise ReformerError(
      f'the {figure} at step {self.step}{kept}{where}: lower the learning '
      'rate, or leave out more such steps than '
      f'trax_reformer_ext.Checkpoints.max_bad_steps = {most}'
    )

  def _count(self, batch):
    """Tokens in a batch; of padded sentence pairs those of the target."""
    n = np.count_nonzero(batch[1]) if self._model.n_in == 2 else batch[0].size
    return n * jax.process_count()

  @contextlib.contextmanager
  def _open_summary_writers(self):
    if self._output_dir is None or not self.is_chief:
      nobody = lambda tasks: [None] * len(tasks)
      yield nobody(self._tasks), nobody(self._eval_tasks)
      return
    writers = [
      [SummaryWriter(os.path.join(folder, part)) for folder in folders]
      for part, folders in (
        ('train', self._output_dir_per_train_task),
        ('eval', self._output_dir_per_eval_task),
      )
    ]
    try:
      yield writers
    finally:
      for writer in sum(writers, []):
        writer.close()

  def _log_training_progress(
    self,
    task,
    total_loss,
    n_steps,
    elapsed_time,
    optimizer_metrics,
    summary_writer,
  ):
    super()._log_training_progress(
      task, total_loss, n_steps, elapsed_time, optimizer_metrics, summary_writer
    )
    figures = {
      'seconds per step': elapsed_time / max(1, n_steps),
      'tokens per second': self._n_tokens / elapsed_time,
      'peak memory in MiB': _peak_memory() / 2**20,
    }
    self._n_tokens = 0
    self.log_summary(figures, summary_writer, 'training/', 'train', False)

  def log_summary(
    self, values, summary_writer, value_prefix, log_prefix, stdout=True
  ):
    """As Trax's, in one line, with bits per dim beside the training loss."""
    values = dict(values)
    for name in list(values):
      if name.endswith('CrossEntropyLoss') or name.endswith('CrossEntropy'):
        values['bits_per_dim'] = values[name] / math.log(2)
    super().log_summary(
      values, summary_writer, value_prefix, log_prefix, stdout=False
    )
    shown = {k: v for k, v in values.items() if np.ndim(v) == 0}
    if stdout and shown and self._progress is not None:
      figures = '  '.join(f'{k} {float(v):.4f}' for k, v in shown.items())
      self._progress.say(f'step {self.step}  {log_prefix}: {figures}')

  def _log_step(self, msg, stdout=True):
    _LOG.info('step %d: %s', self.step, msg)


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


def _history_of(scalars):
  history = trax_history.History()
  for mode, of_mode in scalars.items():
    for name, values in of_mode.items():
      for step, value in values:
        history.append(mode, name, step, value)
  return history


def _peak_memory():
  """Bytes: of the first device where it says so, or else of the process."""
  stats = jax.local_devices()[0].memory_stats() or {}
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  return stats.get('peak_bytes_in_use', peak)


def _as_list(tasks):
  if tasks is None:
    return []
  return list(tasks) if isinstance(tasks, (list, tuple)) else [tasks]

"""Trax's training loop, with checks before it and progress during it."""

import contextlib
import logging
import math
import os
import resource
import signal

import jax
import numpy as np
from trax import layers as tl
from trax import shapes
from trax.supervised import training

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.files import written_beside
from trax_reformer_ext.training import hosts, run_dir
from trax_reformer_ext.training.checks import (
  check_ids,
  check_loss,
  find_vocab_sizes,
)
from trax_reformer_ext.training.data_parallel import Devices, Trainer
from trax_reformer_ext.training.interruption import Interruption, Stopped
from trax_reformer_ext.training.progress import Progress
from trax_reformer_ext.training.saving import SavingLoop
from trax_reformer_ext.training.summaries import SummaryWriter

_LOG = logging.getLogger('trax_reformer_ext')


class Loop(SavingLoop):
  """trax.supervised.training.Loop that a person can watch and rely on.

  Checks that the loss fits the model, that token ids are in the vocabulary
  and that the output directory holds no other model's run, before anything is
  written; shows progress; writes bits per dim and both configs.

  Trains on all devices, and hosts, together.
  """

  def __init__(
    self,
    model,
    tasks,
    eval_model=None,
    eval_tasks=None,
    output_dir=None,
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
      n_devices: int, devices of this host; None for all that are visible.
      random_seed: int; None for another one each time.
      use_memory_efficient_trainer: as Trax's; on one device.
      adasum: as Trax's; on one device, where it means nothing.
      **kwargs: as Trax's.

    Raises:
      ReformerError: what does not go together, by name.
    """
    tasks, eval_tasks = _as_list(tasks), _as_list(eval_tasks)
    self._devices = Devices(n_devices)
    self._devices.check_options(use_memory_efficient_trainer, adasum)
    vocab_sizes = find_vocab_sizes(model)
    check_batch = lambda batch: check_ids(batch, vocab_sizes)
    for task in tasks + eval_tasks:
      check_batch(task.sample_batch)
    for task in tasks:
      check_loss(model, task.loss_layer)
    self._progress, self._n_tokens = None, 0
    self._n_bad, self._last_good = 0, None
    if random_seed is None and jax.process_count() > 1:
      random_seed = hosts.same_on_all(int.from_bytes(os.urandom(4)) >> 1)
    super().__init__(
      model,
      tasks,
      eval_model,
      eval_tasks,
      output_dir,
      check_batch,
      n_devices=1,  # as far as Trax's own code is concerned
      random_seed=random_seed,
      use_memory_efficient_trainer=use_memory_efficient_trainer,
      adasum=adasum,
      **kwargs,
    )

  def run(self, n_steps=1):
    """As Trax's, with a checkpoint at the end.

    Raises:
      Stopped: SIGINT or SIGTERM has come; the step was finished and saved.
      ReformerError: too many steps whose loss is not finite; a checkpoint
        could not be written, as Checkpoints has it, or at the end.
    """
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
        super().run(n_steps)
    finally:
      self._progress.close()
      self._progress = None

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
    if self._is_running:
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


def _peak_memory():
  """Bytes: of the first device where it says so, or else of the process."""
  stats = jax.local_devices()[0].memory_stats() or {}
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  return stats.get('peak_bytes_in_use', peak)


def _as_list(tasks):
  if tasks is None:
    return []
  return list(tasks) if isinstance(tasks, (list, tuple)) else [tasks]

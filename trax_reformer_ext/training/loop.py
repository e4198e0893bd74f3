"""Trax's training loop, with checks before it and progress during it."""

import contextlib
import logging
import math
import os
import signal
import threading

import numpy as np
from trax import layers as tl
from trax.supervised import training

from trax_reformer_ext.layers import drop_buckets
from trax_reformer_ext.training import run_dir
from trax_reformer_ext.training.checks import (
  check_ids,
  check_loss,
  check_weights,
  find_vocab_sizes,
)
from trax_reformer_ext.training.progress import Progress

_LOG = logging.getLogger('trax_reformer_ext')


class Loop(training.Loop):
  """trax.supervised.training.Loop that a person can watch and rely on.

  Checks that the loss fits the model, that token ids are in the vocabulary
  and that the output directory holds no other model's run, before anything is
  written; shows progress; writes bits per dim and both configs.
  """

  def __init__(self, model, tasks, eval_model=None, eval_tasks=None, **kwargs):
    tasks = _as_list(tasks)
    self._progress = None
    self._interrupted = False
    vocab_sizes = find_vocab_sizes(model)
    streams = [task.labeled_data for task in tasks]
    for task in tasks + _as_list(eval_tasks):
      check_ids(task.sample_batch, vocab_sizes)
      task._labeled_data = self._checked(task.labeled_data, vocab_sizes)
    for task in tasks:
      check_loss(model, task.loss_layer)
    super().__init__(model, tasks, eval_model, eval_tasks, **kwargs)
    if len(streams) == 1 and hasattr(streams[0], 'seek'):
      # Step n + 1 trains on batch n, in a run that goes on as in a new one.
      streams[0].seek(self.step)

  def load_checkpoint(self, directory=None, filename=None):
    """As Trax's, after a check that the weights are those of this model."""
    folder = directory or self._output_dir
    if filename is None and folder and run_dir.has_weights(folder):
      check_weights(self._model, run_dir.read_weights(folder), folder)
    super().load_checkpoint(directory, filename)

  def save_checkpoint(self, basename):
    """As Trax's, without the hash buckets of the last batch."""
    drop_buckets(self._model)
    drop_buckets(self._eval_model)
    super().save_checkpoint(basename)
    self._saved = self.step

  def run(self, n_steps=1):
    """As Trax's, with a checkpoint at the end and a word on Ctrl-C."""
    sizes = [
      w.size for w in tl.flatten_weights_and_state(self._model.weights, ())[0]
    ]
    self._progress = Progress(self.step, self.step + n_steps)
    self._saved = self.step
    self._progress.say(
      f'Training {self._model.name}: {sum(sizes):,} weights, steps '
      f'{self.step + 1} to {self.step + n_steps}'
    )
    if self._output_dir is not None and self.is_chief:
      run_dir.write_configs(self._output_dir)
    try:
      with self._stop_between_steps():
        super().run(n_steps)
      if self._output_dir is not None and self._saved != self.step:
        self.save_checkpoint('model')
    except KeyboardInterrupt:
      self._progress.close()
      again = f'the last checkpoint is of step {self._saved}'
      if not self._saved:
        again = 'before the first checkpoint'
      raise KeyboardInterrupt(f'stopped at step {self.step}, {again}') from None
    finally:
      self._progress.close()

  def _run_one_step(self, task_index, task_changed):
    loss, stats = super()._run_one_step(task_index, task_changed)
    if self._progress is not None:
      self._progress.update(self.step, loss, self._n_tokens)
    if self._interrupted:
      raise KeyboardInterrupt
    return loss, stats

  @contextlib.contextmanager
  def _stop_between_steps(self):
    """Lets Ctrl-C wait for the end of a step; a second one does not wait.

    Raised at any moment, KeyboardInterrupt may land in a callback of JAX,
    which loses it.
    """

    def wait(signum, frame):
      del signum, frame
      self._interrupted = True
      signal.signal(signal.SIGINT, before)
      # Not by print, which may be what was interrupted.
      os.write(2, b'\nStopping after this step; Ctrl-C again stops at once\n')

    self._interrupted = False
    if threading.current_thread() is not threading.main_thread():
      yield
      return
    before = signal.signal(signal.SIGINT, wait)
    try:
      yield
    finally:
      signal.signal(signal.SIGINT, before)

  def _checked(self, stream, vocab_sizes):
    for batch in stream:
      check_ids(batch, vocab_sizes)
      self._n_tokens = self._count(batch)
      yield batch

  def _count(self, batch):
    """Tokens in a batch; of padded sentence pairs those of the target."""
    if self._model.n_in == 2:
      return np.count_nonzero(batch[1])
    return np.size(batch[0])

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


def _as_list(tasks):
  if tasks is None:
    return []
  return list(tasks) if isinstance(tasks, (list, tuple)) else [tasks]

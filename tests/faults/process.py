"""The train command in processes of their own, to be watched and killed."""

import os
import re
import subprocess
import sys
import threading
import time

from tests.terminal import start

# A model so small that a step takes milliseconds, with dropout and LSH.
SMALL = [
  '--config_file=quickstart',
  '--config_file=tiny',
  '--config=trax_reformer_ext.report.sample_length = 0',
  '--config=trax_reformer_ext.ReformerLM.dropout = 0.1',
  '--config=train.random_seed = 1',
]


def arguments(folder, n_steps, *bindings, every=2):
  """Arguments of a small run.

  Args:
    folder: path, its output directory.
    n_steps: int.
    *bindings: str, of gin.
    every: int, steps between checkpoints.
  """
  bindings = [f'train.steps = {n_steps}', *bindings]
  bindings.append(f'train.eval_frequency = {every}')
  return [
    *SMALL,
    f'--output_dir={folder}',
    *(f'--config={b}' for b in bindings),
  ]


class Training:
  """A running `trax-reformer train`.

  Attributes:
    lines: list of str, what it has said so far.
  """

  def __init__(self, arguments, python=sys.executable, **environment):
    """Starts it.

    Args:
      arguments: list of str.
      python: str, the interpreter.
      **environment: variables to set.
    """
    self.lines = []
    self._process = start(
      [python, '-m', 'trax_reformer_ext', 'train', *arguments],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      env={**os.environ, **environment},
    )
    self._said = threading.Condition()
    self._is_open = True
    self._reader = threading.Thread(target=self._read, daemon=True)
    self._reader.start()

  def wait_for(self, pattern, seconds=300):
    """Waits until it has said a line in which the pattern is found.

    Raises:
      AssertionError: it has ended, or the time is over.
    """
    found = lambda: any(re.search(pattern, line) for line in self.lines)
    with self._said:
      self._said.wait_for(lambda: found() or not self._is_open, seconds)
      assert found(), f'no {pattern!r} in:\n{self.said}'

  def send(self, signum):
    """Sends a signal."""
    self._process.send_signal(signum)

  def kill(self):
    """SIGKILL, and waits for the end."""
    self._process.kill()
    self.end()

  def end(self, seconds=300):
    """Waits for the end and returns the exit code."""
    try:
      self._process.wait(seconds)
    except subprocess.TimeoutExpired:
      self._process.kill()
      raise AssertionError(f'no end within {seconds} s:\n{self.said}') from None
    self._reader.join()
    return self._process.returncode

  def finish(self, seconds=300):
    """Waits for an end without error."""
    assert self.end(seconds) == 0, self.said

  @property
  def said(self):
    return '\n'.join(self.lines)

  @property
  def last_step(self):
    """int, the last step whose evaluation it has shown; 0 for none."""
    steps = re.findall(r'^step (\d+)  eval', self.said, re.MULTILINE)
    return int(steps[-1]) if steps else 0

  def _read(self):
    for line in self._process.stdout:
      with self._said:
        self.lines.append(line.rstrip('\n'))
        self._said.notify_all()
    with self._said:
      self._is_open = False
      self._said.notify_all()


def run(arguments, seconds=300, **options):
  """Trains to the end; returns the Training."""
  training = Training(arguments, **options)
  training.finish(seconds)
  return training


def wait_until(condition, training, seconds=300):
  """Waits, looking often, while a training goes on.

  Raises:
    AssertionError: the time is over.
  """
  deadline = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < deadline, training.said
    time.sleep(0.0005)

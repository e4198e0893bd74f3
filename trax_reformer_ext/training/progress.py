"""Progress of a training run: a bar on a terminal, plain lines elsewhere."""

import math
import sys
import time

import tqdm

# Seconds between plain lines, and between updates of the figures of the bar.
_LINE_SECONDS = 10.0
_BAR_SECONDS = 0.5


class Progress:
  """Shows step, loss, bits per dim, tokens per second and time left."""

  def __init__(self, first, last, stream=None, shown=True):
    """Starts the clock.

    Args:
      first: int, steps done before.
      last: int, steps of the whole training.
      stream: where to write; None for stderr.
      shown: bool, or else nothing is written.
    """
    self._step, self._last, self._is_shown = first, last, shown
    self._stream = stream or sys.stderr
    self._bar = None
    if shown and self._stream.isatty():
      self._bar = tqdm.tqdm(
        total=last,
        initial=first,
        unit='step',
        file=self._stream,
        dynamic_ncols=True,
        desc='compiling',
      )
    self._shown = time.monotonic()
    self._tokens = 0
    self._compiled = None  # time and step from which the speed is measured

  def update(self, step, loss, n_tokens):
    """Counts one step.

    Args:
      step: int, number of the step.
      loss: float or array, mean cross-entropy in nats.
      n_tokens: int, tokens in its batch.
    """
    if self._bar is not None:
      self._bar.update(step - self._step)
    self._step = step
    now = time.monotonic()
    if self._compiled is None:
      # The first step waits for the compiler and says nothing about speed.
      float(loss)
      self._compiled = time.monotonic(), step
      return
    self._tokens += n_tokens
    pause = _LINE_SECONDS if self._bar is None else _BAR_SECONDS
    if now - self._shown < pause and step < self._last:
      return
    loss = float(loss)  # waits for the step
    self._shown = now = time.monotonic()
    start, first = self._compiled
    speed = self._tokens / max(now - start, 1e-9)
    left = (self._last - step) * (now - start) / max(step - first, 1)
    figures = (
      f'loss {loss:.4f}  {loss / math.log(2):.3f} bits/dim  '
      f'{speed:,.0f} tokens/s'
    )
    if not self._is_shown:
      return
    if self._bar is None:
      line = f'step {step}/{self._last}  {figures}  {_clock(left)} left'
      print(line, file=self._stream, flush=True)
    else:
      self._bar.set_description_str('training', refresh=False)
      self._bar.set_postfix_str(figures)

  def say(self, line):
    """Prints a line that stays, above the bar."""
    if not self._is_shown:
      return
    if self._bar is not None:
      self._bar.clear()
    print(line, flush=True)
    if self._bar is not None:
      self._bar.refresh()

  def close(self):
    """Ends the bar."""
    if self._bar is not None:
      self._bar.close()


def _clock(seconds):
  minutes, seconds = divmod(int(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f'{hours}:{minutes:02}:{seconds:02}'
  return f'{minutes}:{seconds:02}'

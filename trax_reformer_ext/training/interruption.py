"""Ends a run between two steps, when it is told to."""

import os
import signal
import threading


class Stopped(KeyboardInterrupt):
  """A run has ended because it was told to.

  Attributes:
    signum: int, the signal.
    exit_code: int, 128 and the number of the signal, as shells have it.
  """

  def __init__(self, message, signum):
    super().__init__(message)
    self.signum = signum
    self.exit_code = 128 + signum


class Interruption:
  """Notes SIGINT and SIGTERM, for a look between two steps.

  Raised at any moment, KeyboardInterrupt may land in a callback of JAX, which
  loses it. A second signal ends the process at once: no file is harmed by
  that, as all are written beside and renamed.

  Attributes:
    signum: int, the signal that came; None for none.
  """

  def __init__(self):
    self.signum = None
    self._before = {}

  def __enter__(self):
    if threading.current_thread() is threading.main_thread():
      for signum in (signal.SIGINT, signal.SIGTERM):
        self._before[signum] = signal.signal(signum, self._note)
    return self

  def __exit__(self, *_):
    for signum, handler in self._before.items():
      signal.signal(signum, handler)
    self._before = {}

  def _note(self, signum, frame):
    del frame
    # Not by print, which may be what was interrupted.
    if self.signum is not None:
      os.write(2, b'\nStopped at once\n')
      os._exit(128 + signum)
    self.signum = signum
    os.write(
      2, b'\nStopping after this step, and saving; once more stops at once\n'
    )

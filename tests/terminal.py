"""The trax-reformer command in a process of its own."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

COMMAND = [sys.executable, '-m', 'trax_reformer_ext']


def start(command, **options):
  """Starts a process that heeds Ctrl-C.

  A shell's background jobs ignore it, and so does what they start.

  Args:
    command: list of str.
    **options: of subprocess.Popen.
  """
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  try:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
  finally:
    signal.signal(signal.SIGINT, before)


def interrupt(arguments, when, seconds):
  """Sends the command Ctrl-C, on a pseudo-terminal, once it has said something.

  Args:
    arguments: list of str.
    when: str, a regular expression for what it must have said before.
    seconds: float, after which it is killed.

  Returns:
    (exit code, all that it said).
  """
  ours, its = os.openpty()
  fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack('4H', 24, 160, 0, 0))
  process = start([*COMMAND, *arguments], stdout=its, stderr=its)
  os.close(its)
  said, interrupted, deadline = '', False, time.monotonic() + seconds
  while time.monotonic() < deadline:
    if select.select([ours], [], [], 1)[0]:
      try:
        said += os.read(ours, 4096).decode(errors='replace')
      except OSError:  # the other end is closed
        break
    if re.search(when, said) and not interrupted:
      process.send_signal(signal.SIGINT)
      interrupted = True
  os.close(ours)
  process.kill()  # without effect on one that has ended
  return process.wait(), said

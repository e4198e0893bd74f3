"""Processes that measure one peer each, by turns."""

import json
import pathlib
import re
import subprocess
import tempfile

_PEERS = pathlib.Path(__file__).parent / 'peers'


class WorkerError(Exception):
  """A process that does not answer, in one line."""


class Worker:
  """A process that measures one model whenever it is asked.

  See benchmarks/peers/turns.py for its side. The others sleep meanwhile.
  """

  def __init__(self, python, script, options):
    self._errors = tempfile.TemporaryFile()
    command = [python, str(_PEERS / script), json.dumps(options)]
    try:
      self._process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=self._errors,
        text=True,
      )
    except OSError as e:
      raise WorkerError(e.strerror) from e
    try:
      self.about = self._answer()['about']
    except WorkerError:
      self.close()
      raise

  def measure(self, **request):
    """A turn: a dict of what is measured, and the peak of memory (MiB).

    Args:
      **request: what the process is asked for, of JSON's types.
    """
    try:
      self._process.stdin.write(json.dumps(request) + '\n')
      self._process.stdin.flush()
    except OSError:
      pass  # it has ended: its last words are read below
    return self._answer()

  def close(self):
    """Ends the process."""
    self._process.kill()
    self._process.communicate()
    self._errors.close()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def _answer(self):
    line = self._process.stdout.readline()
    try:
      return dict(json.loads(line))
    except (ValueError, TypeError):
      pass
    self._process.kill()
    self._process.wait()
    self._errors.seek(0)
    said = self._errors.read().decode(errors='replace').strip().splitlines()
    # JAX says more after the exception.
    errors = [x for x in said if re.match(r'[\w.]+(Error|Exception)\b', x)]
    raise WorkerError((errors or said or ['its answer makes no sense'])[-1])

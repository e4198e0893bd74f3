"""The scenarios, small, and what a person does to a run."""

import functools
import os
import re
import signal
import subprocess
import sys

import pytest

from tests.faults import scenarios
from tests.faults.process import Training, arguments, run
from trax_reformer_ext.training import checkpoints

pytestmark = pytest.mark.slow


def test_kills(tmp_path):
  seen = scenarios.kills(tmp_path, 3, 40)
  assert seen['kills'] == len(seen['steps']) == 3


def test_kills_in_the_first_save(tmp_path):
  assert scenarios.kills_in_the_first_save(tmp_path, 1)['kills'] == 1


def mounted(function):
  """A test that is left out where no file system may be mounted."""

  @functools.wraps(function)
  def test(tmp_path):
    try:
      function(tmp_path)
    except scenarios.CannotMount as e:
      pytest.skip(f'this user cannot mount a small file system: {e}')

  return test


@mounted
def test_goes_on_with_a_full_disk(tmp_path):
  assert scenarios.full_disk(tmp_path, stops=False)['warnings'] >= 1


@mounted
def test_stops_with_a_disk_that_is_full_in_the_middle_of_a_save(tmp_path):
  scenarios.full_disk(tmp_path, stops=True, left=320_000)


@mounted
def test_refuses_a_directory_that_cannot_be_written(tmp_path):
  with scenarios.small_disk(tmp_path / 'disk', 1, ',ro') as disk:
    training = Training(arguments(disk / 'run', 2))
    assert training.end() == 1
  (line,) = training.lines[-1:]
  assert line == (
    f"trax-reformer: error: --output_dir is '{disk}/run', but {disk} is not a "
    'directory that can be written: choose another one'
  )
  assert 'Training' not in training.said


@pytest.mark.parametrize(
  'signum, code', [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_finishes_the_step_and_saves_it(signum, code, tmp_path):
  command = arguments(tmp_path / 'run', 300, every=100)
  training = Training(command)
  training.wait_for('^step 1  eval')
  training.send(signum)
  assert training.end(30) == code
  step = int(re.search(r'stopped at step (\d+)', training.lines[-1])[1])
  assert training.lines[-1] == (
    f'trax-reformer: stopped at step {step}, which is saved: the same command '
    'goes on from there'
  )
  assert checkpoints.find_last(tmp_path / 'run') == step
  again = run(arguments(tmp_path / 'run', step + 1, every=100))
  assert f'steps {step + 1} to {step + 1}' in again.said


def test_a_second_signal_ends_at_once(tmp_path):
  training = Training(arguments(tmp_path / 'run', 5000))
  training.wait_for('^step 2  eval')
  # Two that are waiting come within one step.
  for signum in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
    training.send(signum)
  assert training.end(30) == 143
  assert 'Stopping after this step, and saving; once more' in training.said
  assert training.lines[-1] == 'Stopped at once'
  last = checkpoints.find_last(tmp_path / 'run')
  run(arguments(tmp_path / 'run', last + 1))


def test_a_second_run_in_the_directory_is_refused(tmp_path):
  command = arguments(tmp_path / 'run', 5000)
  first = Training(command)
  first.wait_for('^step 2  eval')
  second = Training(command)
  assert second.end() == 1
  assert second.lines[-1] == (
    f"trax-reformer: error: --output_dir is '{tmp_path}/run', in which another "
    'run is training: wait for its end, or choose another directory'
  )
  first.kill()  # the lock ends with the process
  last = checkpoints.find_last(tmp_path / 'run')
  run(arguments(tmp_path / 'run', last + 1))


def test_goes_on_under_another_python(tmp_path):
  other = os.environ.get('REFORMER_OTHER_PYTHON')
  if not other:
    pytest.skip('REFORMER_OTHER_PYTHON names no other interpreter')
  subprocess.run([other, '-c', 'import trax_reformer_ext'], check=True)
  scenarios.versions(tmp_path, (sys.executable, other))

"""What may happen to a run, and what has to be true after it.

Each function makes its runs in a folder, asserts, and returns figures of what
was seen. All of them train by the command line, in processes of their own.
"""

import contextlib
import os
import re
import shutil
import signal
import statistics
import subprocess
import time

import numpy as np

from tests.faults.process import Training, arguments, run, wait_until
from trax_reformer_ext.training import checkpoints

DEVICES = '--xla_force_host_platform_device_count'


def assert_same(folder, other, step):
  """Two runs have the same bits at a step: weights, slots, keys, history."""
  a, b = (checkpoints.read(f, step) for f in (folder, other))
  assert a.training.keys() == b.training.keys()
  for x, y in [
    (a.weights, b.weights),
    *((a.training[name], b.training[name]) for name in a.training),
  ]:
    for p, q in zip(x, y, strict=True):
      assert p.dtype == q.dtype
      np.testing.assert_array_equal(p, q)
  assert a.run['positions'] == b.run['positions']
  losses = [r.run['history']['eval']['metrics/loss'] for r in (a, b)]
  assert losses[0] == losses[1]


def kills(folder, n, n_steps, most_seconds=1.5, seed=0, progress=None):
  """SIGKILLs at random moments of a run that saves every two steps.

  Half of the kills come up to most_seconds after the first step of a process,
  half as long after its start with the data and the last checkpoint.

  Args:
    folder: path, of two runs.
    n: int, kills.
    n_steps: int, of the run; it has to last longer than the kills.
    most_seconds: float.
    seed: int, of the moments.
    progress: function of an int, the kills so far; or None.

  Returns:
    dict: kills, n_steps, the step that the run was at after each kill as
    'steps', and how many steps had to be done again as 'lost'.
  """
  rng = np.random.default_rng(seed)
  run(arguments(folder / 'whole', n_steps), seconds=3600)
  killed = arguments(folder / 'killed', n_steps)
  kept, lost, steps = None, [], []
  for i in range(n):
    training = Training(killed)
    begin = 'Training' if rng.random() < 0.5 else '^step [0-9]+  eval'
    training.wait_for(begin)
    assert f'steps {(kept or 0) + 1} to {n_steps}' in training.said
    time.sleep(rng.uniform(0, most_seconds))
    training.kill()
    assert training.end() == -signal.SIGKILL, 'the run is too short'
    last = checkpoints.find_last(folder / 'killed')
    assert (last or 0) >= (kept or 0)
    kept = last
    steps.append(kept or 0)
    lost.append(max(0, training.last_step - steps[-1]))
    if progress:
      progress(i + 1)
  run(killed, seconds=3600)
  assert_same(folder / 'whole', folder / 'killed', n_steps)
  # What is saved at one step and being written at the next.
  assert max(lost) <= 4
  return {'kills': n, 'n_steps': n_steps, 'steps': steps, 'lost': lost}


def kills_in_the_first_save(folder, n, seed=0):
  """SIGKILLs while the first checkpoint is being written.

  Returns:
    dict: kills, and how many of them left no complete checkpoint as 'cut'.
  """
  rng = np.random.default_rng(seed)
  run(arguments(folder / 'whole', 4))
  cut = 0
  for i in range(n):
    one = folder / str(i)
    training = Training(arguments(one, 4))
    wait_until((one / 'checkpoints').is_dir, training)
    time.sleep(rng.uniform(0, 0.05))
    training.kill()
    last = checkpoints.find_last(one)
    cut += last is None
    again = run(arguments(one, 4))
    assert f'steps {(last or 0) + 1} to 4' in again.said
    assert_same(folder / 'whole', one, 4)
  return {'kills': n, 'cut': cut}


def damage(folder):
  """Each file of the last checkpoint, truncated, and with one byte flipped.

  Returns:
    dict: damages, all of which were found and named, and files.
  """
  run(arguments(folder / 'run', 6))
  last = folder / 'run' / 'checkpoints' / '6'
  files = sorted(p for p in last.rglob('*') if p.is_file())
  n = 0
  for path in files:
    whole = path.read_bytes()
    i = len(whole) // 3
    damages = [whole[: len(whole) // 2], whole + b'0']
    if whole:
      damages.append(whole[:i] + bytes([whole[i] ^ 16]) + whole[i + 1 :])
    for damaged in damages:
      if damaged == whole:
        continue
      path.write_bytes(damaged)
      said = []
      assert checkpoints.find_last(folder / 'run', say=said.append) == 4, path
      name = path.relative_to(last)
      assert f'{last} is damaged ({name} is not as it was' in said[0]
      n += 1
    path.write_bytes(whole)
  # By the command itself: goes on from step 4, to the same bits.
  shutil.copytree(folder / 'run', folder / 'damaged')
  victim = folder / 'damaged' / last.relative_to(folder / 'run')
  (victim / 'run' / 'metadata').write_bytes(b'{}')
  said = run(arguments(folder / 'damaged', 6)).said
  assert 'the one of step 4 is used' in said and 'steps 5 to 6' in said
  assert_same(folder / 'run', folder / 'damaged', 6)
  return {'damages': n, 'files': len(files)}


def full_disk(folder, stops, left=0):
  """The disk is full for some of the saves of a run.

  Args:
    folder: path, where a small tmpfs is mounted.
    stops: bool, Checkpoints.stop_on_failed_save.
    left: int, bytes that are free when the saves begin: more than the arrays
      take, then the disk is full in the middle of a save.

  Returns:
    dict: warnings that were said.

  Raises:
    CannotMount: not as this user.
  """
  n_steps = 150
  run(arguments(folder / 'whole', n_steps))
  option = f'trax_reformer_ext.Checkpoints.stop_on_failed_save = {stops}'
  with small_disk(folder / 'disk', 8) as disk:
    command = arguments(disk / 'run', n_steps, option)
    training = Training(command)
    training.wait_for('^step 10  eval')
    fill(disk / 'ballast', left)
    if stops:
      assert training.end() == 1, training.said
      (said,) = [x for x in training.lines if 'error: the check' in x]
    else:
      training.wait_for('training goes on')
      (said,) = [x for x in training.lines if 'goes on' in x][:1]
    assert re.search(
      r'No space left on device.*\): the last good one is of step', said
    )
    last = int(said.split('of step ')[-1].split(';')[0])
    assert checkpoints.find_last(disk / 'run') >= last > 0
    (disk / 'ballast').unlink()
    if stops:
      training = Training(command)
    training.finish()
    assert_same(folder / 'whole', disk / 'run', n_steps)
  return {'warnings': training.said.count('cannot be written')}


class CannotMount(Exception):
  """This user may not mount a file system."""


@contextlib.contextmanager
def small_disk(folder, mebibytes, options=''):
  """Mounts a tmpfs.

  Raises:
    CannotMount: not as this user.
  """
  folder.mkdir()
  size = f'size={mebibytes}m{options}'
  done = subprocess.run(
    ['mount', '-t', 'tmpfs', '-o', size, 'tmpfs', str(folder)],
    capture_output=True,
    text=True,
  )
  if done.returncode:
    raise CannotMount(done.stderr.strip())
  try:
    yield folder
  finally:
    subprocess.run(['umount', '-l', str(folder)], check=True)


def fill(path, left):
  """Fills the disk that a file is on, but for some bytes."""
  with open(path, 'wb', buffering=0) as f, contextlib.suppress(OSError):
    while True:
      f.write(bytes(4096))
  with open(path, 'rb+') as f:
    f.truncate(max(0, path.stat().st_size - left))


def on_devices(folder, n_devices, n_steps=50, batch_size=8):
  """Trains on a number of devices of one process.

  Returns:
    (training losses of the steps, final weights, tokens a second).
  """
  flags = f'{os.environ.get("XLA_FLAGS", "")} {DEVICES}={n_devices}'
  run(_compared(folder, n_steps, batch_size), XLA_FLAGS=flags)
  return _result(folder, n_steps)


def on_hosts(folder, n_hosts, port, n_steps=50, batch_size=8):
  """Trains in a number of processes, as on_devices."""
  command = _compared(folder, n_steps, batch_size)
  hosts = [
    Training([*command, *cluster(n_hosts, i, port)]) for i in range(n_hosts)
  ]
  for host in hosts:
    host.finish()
  return _result(folder, n_steps)


def cluster(n_hosts, host_id, port):
  """The flags of one of several hosts on this machine."""
  return [
    '--gpu_cluster_chief_ip=127.0.0.1',
    f'--gpu_cluster_n_hosts={n_hosts}',
    f'--gpu_cluster_host_id={host_id}',
    f'--gpu_cluster_port={port}',
    '--cluster_patience=120',
  ]


def _compared(folder, n_steps, batch_size):
  return arguments(
    folder,
    n_steps,
    f'trax_reformer_ext.text_inputs.batch_size = {batch_size}',
    every=1,
  )


def _result(folder, n_steps):
  saved = checkpoints.read(folder, n_steps)
  history = saved.run['history']['train']
  (name,) = [n for n in history if n.endswith('CrossEntropyLoss')]
  losses = [value for _, value in history[name]]
  assert len(losses) == n_steps
  speeds = [v for _, v in history['training/tokens per second']]
  return losses, saved.weights, statistics.median(speeds[len(speeds) // 5 :])


def largest_difference(a, b):
  """Between two lists of arrays."""
  return max(float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True))


def versions(folder, pythons):
  """One run that goes on by turns under two interpreters.

  Args:
    folder: path.
    pythons: two paths of interpreters with this package.

  Returns:
    dict: the versions of JAX of the checkpoints of steps 2, 4 and 6.
  """
  versions = []
  command = lambda n: arguments(
    folder, n, 'trax_reformer_ext.Checkpoints.keep_last = 9'
  )
  for i, python in enumerate((pythons[0], pythons[1], pythons[0])):
    n = 2 * (i + 1)
    said = run(command(n), python=python).said
    assert f'steps {n - 1} to {n}' in said
    versions.append(checkpoints.read(folder, n).run['jax'])
  losses = checkpoints.read(folder, 6).run['history']['eval']['metrics/loss']
  assert [step for step, _ in losses] == [1, 2, 4, 6]
  return {'jax': versions}

"""Several machines that train one model, through jax.distributed."""

import contextlib
import ctypes
import os
import signal
import sys

import jax
import numpy as np

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.training import rendezvous

# Seconds without a sign of life after which a host counts as dead.
_HEARTBEAT = 30
_AGAIN = 'start the command on all hosts again, or on fewer, to go on'
_LOST = ('Gloo', 'connection', 'Connection', 'heartbeat', 'UNAVAILABLE')


def connect(chief, port, n_hosts, host_id, patience):
  """Makes this process one of several that train together.

  On the CPU they exchange gradients by gloo.

  Args:
    chief: str, address of host 0.
    port: int, there.
    n_hosts: int.
    host_id: int in [0, n_hosts).
    patience: float, seconds to wait for all hosts.

  Raises:
    ReformerError: a host does not come in time, or has another's number.
  """
  rendezvous.meet(chief, port, n_hosts, host_id, patience)
  jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  try:
    jax.distributed.initialize(
      f'{chief}:{port}',
      n_hosts,
      host_id,
      initialization_timeout=int(patience) + 1,
      heartbeat_timeout_seconds=_HEARTBEAT,
      shutdown_timeout_seconds=_HEARTBEAT,
    )
  except RuntimeError as e:
    raise ReformerError(
      f'--gpu_cluster_chief_ip is {chief!r}, port {port}: the hosts met there, '
      f'but jax.distributed does not start ({e})'
    ) from e
  # Python's own handlers run too late, when abort() has ended the process.
  ctypes.CDLL(None).signal(signal.SIGABRT, _say_why)
  with _silent():
    any_of_all(True)  # gloo prints what it has connected to


@contextlib.contextmanager
def _silent():
  """Drops what C++ writes to stdout."""
  sys.stdout.flush()
  kept = os.dup(1)
  try:
    with open(os.devnull, 'wb') as nowhere:
      os.dup2(nowhere.fileno(), 1)
    yield
  finally:
    os.dup2(kept, 1)
    os.close(kept)


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _say_why(signum):
  """Says what an abort by JAX means, which prints a stack trace alone."""
  del signum
  print(
    'trax-reformer: error: JAX has ended this process, as it does where host 0 '
    f'has died: {_AGAIN} from the last checkpoint',
    file=sys.stderr,
    flush=True,
  )
  os._exit(1)


def end_if_one_is_lost(e, last_step):
  """Ends the process where an exception stands for a host that has died.

  At once, as an orderly end would wait for that host.

  Args:
    e: exception of a training step.
    last_step: int, of the last good checkpoint; or None.
  """
  if jax.process_count() == 1 or not any(word in str(e) for word in _LOST):
    return
  kept = 'there is no checkpoint'
  if last_step is not None:
    kept = f'the last good checkpoint is of step {last_step}'
  print(
    'trax-reformer: error: another host does not answer any more '
    f'({str(e).splitlines()[0][:200]}): {kept}; {_AGAIN} from there',
    file=sys.stderr,
    flush=True,
  )
  os._exit(1)


def same_on_all(step):
  """What the chief says, on every host.

  Args:
    step: int or None; that of host 0 counts.
  """
  if jax.process_count() == 1:
    return step
  from jax.experimental import multihost_utils

  told = np.int32(-1 if step is None else step)
  told = int(multihost_utils.broadcast_one_to_all(told))
  return None if told < 0 else told


def any_of_all(value):
  """Whether the value is true on any host."""
  if jax.process_count() == 1:
    return bool(value)
  from jax.experimental import multihost_utils

  return bool(multihost_utils.process_allgather(np.bool_(value)).any())

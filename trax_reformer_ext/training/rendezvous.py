"""Hosts meet before they start to train together.

jax.distributed ends the process with a stack trace where a host does not come.
Here the chief knows who is missing, and tells all.
"""

import contextlib
import json
import selectors
import socket
import time

from trax_reformer_ext.errors import ReformerError

_PAUSE = 0.2  # seconds between attempts to reach the chief
_MOST = 4096  # bytes of a message


def meet(chief, port, n_hosts, host_id, patience):
  """Returns when all hosts are there.

  Args:
    chief: str, address of host 0.
    port: int; free on host 0, also afterwards.
    n_hosts: int.
    host_id: int in [0, n_hosts).
    patience: float, seconds to wait.

  Raises:
    ReformerError: numbers that can't be; a host that does not come in time, by
      its number; the chief can't be reached.
  """
  if n_hosts < 1 or not 0 <= host_id < n_hosts:
    raise ReformerError(
      f'--gpu_cluster_host_id is {host_id}, with --gpu_cluster_n_hosts '
      f'{n_hosts}: give an int in [0, {max(n_hosts, 1)})'
    )
  deadline = time.monotonic() + patience
  if host_id == 0:
    _gather(chief, port, n_hosts, deadline, patience)
  else:
    _join(chief, port, n_hosts, host_id, deadline, patience)


def _gather(chief, port, n_hosts, deadline, patience):
  """The chief's part: waits for the others and tells them what came of it."""
  here = {}
  with contextlib.ExitStack() as stack:
    try:
      server = stack.enter_context(
        socket.create_server(('', port), reuse_port=False)
      )
    except OSError as e:
      raise ReformerError(
        f'--gpu_cluster_port is {port}, which cannot be used on this host '
        f'({e.strerror}): choose another one'
      ) from e
    selector = stack.enter_context(selectors.DefaultSelector())
    selector.register(server, selectors.EVENT_READ)
    error = None
    while len(here) < n_hosts - 1 and error is None:
      left = deadline - time.monotonic()
      ready = selector.select(left) if left > 0 else []
      if not ready:
        missing = [i for i in range(1, n_hosts) if i not in here]
        error = (
          f'--gpu_cluster_n_hosts is {n_hosts}, but host '
          f'{", ".join(map(str, missing))} did not come to {chief}:{port} '
          f'within {patience:g} seconds: start it there with its '
          '--gpu_cluster_host_id, or give fewer hosts'
        )
        break
      connection, _ = server.accept()
      stack.enter_context(connection)
      connection.settimeout(1)
      error = _admit(connection, n_hosts, here)
    for connection in here.values():
      with contextlib.suppress(OSError):
        connection.sendall(json.dumps({'error': error}).encode() + b'\n')
  if error:
    raise ReformerError(error)


def _admit(connection, n_hosts, here):
  """Notes a host that has connected; an error that ends the meeting."""
  try:
    told = json.loads(_line(connection))
    host, count = told['host_id'], told['n_hosts']
  except (OSError, ValueError, KeyError, TypeError):
    return None  # somebody else
  if count != n_hosts:
    error = (
      f'--gpu_cluster_n_hosts is {n_hosts} on host 0 and {count} on host '
      f'{host}: give all hosts the same'
    )
  elif host in here or not 1 <= host < n_hosts:
    error = (
      f'--gpu_cluster_host_id is {host} on two hosts: give each its own, from '
      f'0 to {n_hosts - 1}'
    )
  else:
    here[host] = connection
    return None
  with contextlib.suppress(OSError):
    connection.sendall(json.dumps({'error': error}).encode() + b'\n')
  return error


def _join(chief, port, n_hosts, host_id, deadline, patience):
  """The others' part."""
  lost = None
  while time.monotonic() < deadline:
    try:
      with socket.create_connection((chief, port), timeout=2) as connection:
        told = {'host_id': host_id, 'n_hosts': n_hosts}
        connection.sendall(json.dumps(told).encode() + b'\n')
        connection.settimeout(max(0.1, deadline - time.monotonic() + 5))
        answer = json.loads(_line(connection))
    except (OSError, ValueError) as e:
      lost = e
      time.sleep(_PAUSE)
      continue
    if answer['error']:
      raise ReformerError(answer['error'])
    return
  raise ReformerError(
    f'--gpu_cluster_chief_ip is {chief!r}, but host 0 did not answer at '
    f'{chief}:{port} within {patience:g} seconds ({lost}): start it there with '
    '--gpu_cluster_host_id=0'
  )


def _line(connection):
  """One line that the other side has sent.

  Raises:
    ValueError: it hung up, or said too much.
  """
  said = b''
  while not said.endswith(b'\n'):
    part = connection.recv(_MOST)
    said += part
    if not part or len(said) > _MOST:
      raise ValueError('no answer')
  return said

"""Hosts that meet, and two processes that train together."""

import re
import signal
import socket
import threading

import numpy as np
import pytest

from tests.faults.process import Training, arguments
from tests.faults.scenarios import (
  cluster,
  largest_difference,
  on_devices,
  on_hosts,
)
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.training import checkpoints, rendezvous


@pytest.fixture
def port():
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    return s.getsockname()[1]


def meet(port, *hosts, patience=3):
  """What each of some hosts (n_hosts, host_id) is told; None for no error."""
  told = {}

  def come(i, n_hosts, host_id):
    try:
      rendezvous.meet('127.0.0.1', port, n_hosts, host_id, patience)
    except ReformerError as e:
      told[i] = str(e)

  threads = [
    threading.Thread(target=come, args=(i, *host))
    for i, host in enumerate(hosts)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  return [told.get(i) for i in range(len(hosts))]


def test_hosts_meet(port):
  assert meet(port, (3, 2), (3, 0), (3, 1)) == [None] * 3


def test_a_host_that_does_not_come_is_named_to_all(port):
  told = meet(port, (4, 0), (4, 2))
  assert (
    told
    == [
      f'--gpu_cluster_n_hosts is 4, but host 1, 3 did not come to '
      f'127.0.0.1:{port} within 3 seconds: start it there with its '
      '--gpu_cluster_host_id, or give fewer hosts'
    ]
    * 2
  )


def test_the_chief_does_not_come(port):
  (told,) = meet(port, (2, 1), patience=1)
  assert f'did not answer at 127.0.0.1:{port} within 1 seconds' in told
  assert told.endswith('start it there with --gpu_cluster_host_id=0')


def test_two_hosts_of_one_number(port):
  told = meet(port, (3, 0), (3, 1), (3, 1))
  assert '--gpu_cluster_host_id is 1 on two hosts: give each its' in told[0]


def test_hosts_of_different_counts(port):
  told = meet(port, (2, 0), (3, 1))
  assert told[0] == told[1]
  assert '--gpu_cluster_n_hosts is 2 on host 0 and 3 on host 1: g' in told[0]


@pytest.mark.parametrize('host', [(2, 2), (2, -1), (0, 0)])
def test_numbers_that_cannot_be(port, host):
  (told,) = meet(port, host)
  assert f'--gpu_cluster_host_id is {host[1]}, with' in told


def test_a_port_in_use(port):
  with socket.create_server(('', port)):
    (told,) = meet(port, (2, 0))
  assert f'--gpu_cluster_port is {port}, which cannot be used on th' in told


def test_strangers_do_not_count(port):
  def disturb():
    for said in (
      b'GET / HTTP/1.0\r\n\n',
      b'{"host_id": 1}\n',
      b'1' * 9000,
      b'',
    ):
      try:
        with socket.create_connection(('127.0.0.1', port), timeout=1) as s:
          s.sendall(said)
      except OSError:
        pass

  stranger = threading.Timer(0.3, disturb)
  late = []
  host = threading.Timer(1.5, lambda: late.extend(meet(port, (2, 1))))
  stranger.start()
  host.start()
  assert meet(port, (2, 0), patience=8) == [None]
  host.join()
  stranger.join()
  assert late == [None]


@pytest.mark.slow
def test_devices_and_hosts_come_to_the_same(tmp_path, port):
  losses, weights, _ = on_devices(tmp_path / '1', 1, n_steps=6)
  for other_losses, other_weights, _ in (
    on_devices(tmp_path / '4', 4, n_steps=6),
    on_hosts(tmp_path / 'hosts', 2, port, n_steps=6),
  ):
    np.testing.assert_allclose(other_losses, losses, atol=1e-4)
    assert largest_difference(weights, other_weights) < 1e-3


@pytest.fixture
def hosts(tmp_path, port):
  """Two processes that have begun to train together, and their directory."""
  command = arguments(tmp_path / 'run', 5000)
  trainings = [Training([*command, *cluster(2, i, port)]) for i in (0, 1)]
  trainings[0].wait_for('^step 6  eval')
  yield (*trainings, tmp_path / 'run')
  for training in trainings:
    training.kill()


@pytest.mark.slow
@pytest.mark.parametrize('victim', [0, 1])
def test_a_host_that_dies_ends_the_other(victim, hosts):
  hosts[victim].kill()
  other, folder = hosts[1 - victim], hosts[2]
  assert other.end(90) == 1
  last = other.lines[-1]
  assert last.startswith('trax-reformer: error: ')
  assert 'another host does not answer' in last or 'host 0 has died' in last
  # The run goes on, with another number of hosts.
  last = checkpoints.find_last(folder)
  assert last >= 4
  alone = Training(arguments(folder, last + 2))
  alone.finish()
  assert f'steps {last + 1} to {last + 2}' in alone.said


@pytest.mark.slow
def test_a_signal_to_one_host_stops_both(hosts):
  chief, other, folder = hosts
  assert 'Training' not in other.said  # only the chief tells
  other.send(signal.SIGTERM)
  assert chief.end(60) == other.end(60) == 143
  (line,) = [x for x in chief.lines if 'which is saved' in x]
  step = int(re.search(r'stopped at step (\d+)', line)[1])
  assert checkpoints.find_last(folder) == step

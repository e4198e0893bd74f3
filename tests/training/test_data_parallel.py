"""Several devices, and what is refused with them."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
from trax.layers import base

from tests.faults.scenarios import DEVICES
from tests.training.small_loop import make_loop
from trax_reformer_ext.errors import ReformerError


@pytest.mark.parametrize('n', [0, 2, 1.0, '1'])
def test_devices_that_are_not_there(n, tmp_path):
  with pytest.raises(ReformerError) as e:
    make_loop(tmp_path, n_devices=n)
  assert str(e.value) == (
    f'num_devices.value is {n!r}, but 1 devices are visible: give an int in '
    '[1, 1]'
  )
  assert not list(tmp_path.iterdir())


def test_sharded_weights_are_refused(monkeypatch, tmp_path):
  monkeypatch.setattr(base, 'N_WEIGHTS_SHARDS', 2)
  with pytest.raises(ReformerError, match='n_weights_shards is 2: weights are'):
    make_loop(tmp_path)
  assert not list(tmp_path.iterdir())


def on_two_devices(code):
  """What a program with small_loop's make_loop prints, as JSON."""
  head = """
    import json
    from tests import conftest
    from tests.training.small_loop import make_loop
    from trax_reformer_ext.errors import ReformerError
    from trax import optimizers
  """
  done = subprocess.run(
    [sys.executable, '-c', textwrap.dedent(head) + textwrap.dedent(code)],
    env={
      **os.environ,
      'XLA_FLAGS': f'{os.environ.get("XLA_FLAGS", "")} {DEVICES}=2',
    },
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_refusals_and_the_same_loss_on_two_devices(capsys):
  found = on_two_devices("""
    def error(**options):
      try:
        make_loop(None, **options).run(1)
      except ReformerError as e:
        return str(e)
    losses = {}
    for n in (1, 2):
      loop = make_loop(None, n_devices=n)
      loop.run(3)
      name = 'metrics/ChunkedCrossEntropyLoss'
      losses[n] = [v for _, v in loop.history.get('train', name)]
    print(json.dumps({
      'batch': error(batch_size=3),
      'adasum': error(adasum=True),
      'memory': error(use_memory_efficient_trainer=True),
      'losses': [[float(x) for x in losses[n]] for n in (1, 2)],
    }))
  """)
  assert found['batch'] == (
    'a batch has 3 examples, over 2 devices: set the batch size to a multiple '
    'of 2, or num_devices.value to a divisor'
  )
  assert found['adasum'] == (
    'train.adasum is True, with 2 devices: set it to False, or '
    'num_devices.value to 1'
  )
  assert 'use_memory_efficient_trainer is True, with 2 dev' in found['memory']
  one, two = found['losses']
  assert len(one) == 2
  assert one == pytest.approx(two, abs=1e-5)

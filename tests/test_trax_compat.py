"""Trax 1.4.1 on current JAX, seen from outside."""

import subprocess
import sys
import textwrap

import trax
from trax import fastmath

import trax_reformer_ext
from trax_reformer_ext import trax_compat


def python(code, **env):
  """Runs code in a new process: (stdout, stderr)."""
  import os

  done = subprocess.run(
    [sys.executable, '-c', code],
    capture_output=True,
    text=True,
    env={**os.environ, **env},
  )
  assert done.returncode == 0, done.stderr
  return done.stdout, done.stderr


def test_importing_is_quiet_and_brings_traxs_trainer():
  out, err = python(
    'import trax_reformer_ext, trax.trainer, sys; '
    'assert "jax.lib.xla_extension" not in sys.modules'
  )
  assert out == err == ''


def test_what_others_say_on_stderr_while_trax_loads_is_passed_on():
  _, err = python(
    'import sys\n'
    'class Finder:\n'
    '  def find_spec(self, name, path=None, target=None):\n'
    '    if name == "trax.supervised.trainer_lib":\n'
    '      print("mind the gap", file=sys.stderr)\n'
    'sys.meta_path.insert(0, Finder())\n'
    'import trax_reformer_ext'
  )
  assert err == 'mind the gap\n'


def test_applying_again_changes_nothing():
  before = fastmath.tree_unflatten, dict(fastmath.jax.JAX_BACKEND)
  trax_compat.apply()
  assert before == (fastmath.tree_unflatten, dict(fastmath.jax.JAX_BACKEND))


def test_with_several_devices_traxs_trainer_uses_one_and_says_so():
  out, err = python(
    'import trax_reformer_ext, jax\n'
    'from trax import fastmath, optimizers, layers as tl\n'
    'print(jax.device_count(), fastmath.local_device_count())\n'
    'layer, sgd = tl.Serial(tl.Fn("f", lambda x: x)), optimizers.SGD()\n'
    'sgd.tree_init(())\n'
    'optimizers.Trainer(layer, sgd)',
    XLA_FLAGS='--xla_force_host_platform_device_count=2',
  )
  assert out == '2 1\n'
  assert '2 devices are visible, this run uses one of them' in err


def test_a_layer_of_trax_is_not_replaced():
  assert trax.layers.LSHSelfAttention is not trax_reformer_ext.LSHSelfAttention
  assert trax.models.ReformerLM is not trax_reformer_ext.ReformerLM


def test_a_process_ends_with_a_trainer_that_is_open(tmp_path):
  """Its writers of summaries wait for threads, which end before they do."""
  program = f"""
    import trax_reformer_ext
    from trax import jaxboard
    writer = jaxboard.SummaryWriter({str(tmp_path)!r})
    writer.scalar('loss', 1.0, step=1)
  """
  subprocess.run(
    [sys.executable, '-c', textwrap.dedent(program)], check=True, timeout=60
  )
  (events,) = tmp_path.iterdir()
  assert b'loss' in events.read_bytes()

"""Trains on one very long sequence; tells time, loss and memory of each.

reformer_1m.gin by the real command line, in a process of its own: training
steps with optimizer and checkpoint. Peak memory is that process's own (its
resource usage), beside what XLA sets aside for a step (memory_analysis). With
--in_process the same steps without data pipeline and checkpoint, on the device
that JAX chooses, and its peak beside XLA's figure: for GPUs.

  python benchmarks/long_context.py  # 1,048,576 bytes, 6 layers: ~40 min
  python benchmarks/long_context.py --length=524288
  python benchmarks/long_context.py --layers=12 --steps=0  # XLA's figure alone
  python benchmarks/long_context.py --in_process --steps=20  # on a GPU
  python benchmarks/long_context.py --quick

Reads enwik8_first_4000000_bytes.xz in REFORMER_DATA. Adds to long_context.json
in --output_dir, and draws memory by length of all that is in it.
"""

import argparse
import json
import lzma
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import gin
import jax
import numpy as np
import results

import trax_reformer_ext as ext  # before Trax, whose import it fixes

# isort: split
from trax import layers as tl
from trax import optimizers, shapes

_CONFIGS = pathlib.Path(__file__).parents[1] / 'gin_configs'
_DATA = 'enwik8_first_4000000_bytes.xz'


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--length', type=int, default=2**20)
  parser.add_argument('--layers', type=int, default=6)
  parser.add_argument('--steps', type=int, default=4)
  parser.add_argument(
    '--in_process', action='store_true', help='on a GPU, with its own peak'
  )
  parser.add_argument('--output_dir', default='.', help='for the results')
  parser.add_argument(
    '--quick', action='store_true', help='16,384 bytes, 2 layers, 2 steps'
  )
  arguments = parser.parse_args()
  if arguments.quick:
    arguments.length, arguments.layers, arguments.steps = 2**14, 2, 2
  data = pathlib.Path(os.environ.get('REFORMER_DATA', '.')) / _DATA
  if arguments.steps and not data.exists():
    parser.exit(1, f'error: no {data}: set REFORMER_DATA\n')
  if arguments.in_process and not jax.devices()[0].memory_stats():
    parser.error('--in_process is for GPUs: JAX tells no peak of a CPU')
  step, state = make_step(arguments.length, arguments.layers)
  xla_mib = step.memory_analysis().temp_size_in_bytes / 2**20
  found = dict(
    length=arguments.length,
    layers=arguments.layers,
    jax=jax.__version__,
    xla_mib=xla_mib,
  )
  print(f'XLA sets aside {xla_mib:.0f} MiB for a step', flush=True)
  label = f'{arguments.length:,} bytes, {arguments.layers} layers'
  if arguments.in_process:
    label += f', {jax.devices()[0].device_kind}'
  if arguments.steps:
    what = data, arguments.length, arguments.steps
    if arguments.in_process:
      found |= train_here(*what, step, state)
    else:
      found |= train(*what, arguments.layers)
  print(json.dumps(found, indent=1))
  path = pathlib.Path(arguments.output_dir) / 'long_context.json'
  everything = json.loads(path.read_text()) if path.exists() else {}
  everything[label] = found
  memory = {
    label: {
      name: f[key]
      for name, key in (
        ("XLA's", 'xla_mib'),
        ('the process', 'peak_mib'),
        ('the device', 'device_peak_mib'),
      )
      if key in f
    }
    for label, f in everything.items()
  }
  figure = results.bars(
    memory, 'MiB', 'Peak memory of training on one sequence', decimals=0
  )
  results.save(
    arguments.output_dir, 'long_context', everything, ('long_context', figure)
  )


def make_step(length, n_layers):
  """A training step, compiled and not run.

  Returns:
    (step, (weights, slots, state)): step is a compiled function of weights,
    slots, the number of the step, batch, state and random key that returns
    (loss, state, (weights, slots)).
  """
  gin.parse_config_file(str(_CONFIGS / 'models/reformer_lm_1m.gin'))
  model = tl.Serial(
    ext.ReformerLM(mode='train', n_layers=n_layers),
    ext.ChunkedCrossEntropyLoss(),
  )
  model.init(
    tuple(shapes.ShapeDtype(x.shape, x.dtype) for x in _batch_like(1024))
  )
  optimizer = optimizers.Adam(0.001, clip_grad_norm=1.0)
  optimizer.tree_init(model.weights)
  gradients = jax.value_and_grad(model.pure_fn, argnums=1, has_aux=True)

  def update(weights, slots, i, batch, state, rng):
    (loss, state), grads = gradients(batch, weights, state, rng)
    weights, slots, _ = optimizer.tree_update(
      i, grads, weights, slots, optimizer.opt_params, store_slots=False
    )
    return loss, state, (weights, slots)

  step = jax.jit(update, donate_argnums=(0, 1)).lower(
    model.weights,
    optimizer.slots,
    np.int32(1),
    _batch_like(length),
    model.state,
    jax.random.PRNGKey(0),
  )
  return step.compile(), (model.weights, optimizer.slots, model.state)


def _batch_like(length):
  shape = 1, length
  return tuple(
    jax.ShapeDtypeStruct(shape, dtype)
    for dtype in (np.int32, np.int32, np.float32)
  )


def train_here(data, length, n_steps, step, state):
  """Trains with step, of make_step, on the sequences of data in turn.

  Returns:
    dict: bits per byte of every step, median seconds of a step after the first,
    the device's peak in MiB.
  """
  weights, slots, state = state
  ids = np.frombuffer(lzma.decompress(data.read_bytes()), np.uint8)
  ids = ids[: len(ids) // length * length].reshape(-1, 1, length)
  ids = 2 + ids.astype(np.int32)
  bits, times = [], []
  for i in range(n_steps):
    x = ids[i % len(ids)]
    batch = x, x, np.ones(x.shape, np.float32)
    started = time.perf_counter()
    rng = jax.random.PRNGKey(i)
    loss, state, (weights, slots) = step(
      weights, slots, np.int32(i + 1), batch, state, rng
    )
    bits.append(round(float(loss) / np.log(2), 4))
    times.append(time.perf_counter() - started)
    print(f'step {i + 1}: {bits[-1]} bits/byte, {times[-1]:.2f} s', flush=True)
  stats = jax.devices()[0].memory_stats()
  return dict(
    sequences=len(ids),
    bits_per_byte=bits,
    seconds_per_step=round(statistics.median(times[1:] or times), 3),
    device_peak_mib=stats['peak_bytes_in_use'] >> 20,
  )


def train(data, length, n_steps, n_layers):
  """Trains by the command line.

  Returns:
    dict: bits per byte of every step, seconds of a step after the first, peak
    of the process in MiB.
  """
  with tempfile.TemporaryDirectory() as folder:
    shutil.copy(data, pathlib.Path(folder) / 'enwik8.xz')
    config = [
      f'train.steps={n_steps}',
      'train.eval_frequency=1',
      'multifactor.warmup_steps=1',
      f'trax_reformer_ext.ReformerLM.n_layers={n_layers}',
      f'trax_reformer_ext.text_inputs.length={length}',
      f'trax_reformer_ext.text_inputs.eval_length={min(length, 131072)}',
      'trax_reformer_ext.report.sample_length=0',
    ]
    command = [
      *(sys.executable, '-m', 'trax_reformer_ext', 'train'),
      f'--config_file={_CONFIGS / "reformer_1m.gin"}',
      f'--data_dir={folder}',
      f'--output_dir={folder}/run',
      *(f'--config={binding}' for binding in config),
    ]
    process = subprocess.Popen(
      command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    bits, times = [], []
    for line in process.stdout:
      print(line, end='', flush=True)
      step = re.match(r'step \d+  train: .* bits_per_dim ([\d.]+)', line)
      if step:
        bits.append(float(step.group(1)))
        times.append(time.time())
    _, status, usage = os.wait4(process.pid, 0)
  if status or len(bits) != n_steps:
    sys.exit('error: training ended before its last step')
  return dict(
    bits_per_byte=bits,
    seconds_per_step=round((times[-1] - times[0]) / max(1, n_steps - 1), 1),
    peak_mib=usage.ru_maxrss >> 10,
  )


if __name__ == '__main__':
  main()

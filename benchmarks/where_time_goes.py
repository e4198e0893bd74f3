"""Where the time of a language model's step goes, and how far from the limit.

Loss, gradient and Adam in the shape of Trax's reformer_enwik8.gin, as
language_model_peers.py has it, by XLA's own profile: the time of each compiled
operation, by kind. The model's multiplications and additions count once, though
the reversible layers compute their outputs a second time; the limit is a
2,048 x 2,048 matrix product measured in the same process.

  python benchmarks/where_time_goes.py  # 12 layers, 8,192 tokens: ~3 minutes
  python benchmarks/where_time_goes.py --quick

Writes where_time_goes.json and where_time_goes.png in --output_dir.
"""

import argparse
import collections
import pathlib
import re
import statistics
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
import results

sys.path.append(str(pathlib.Path(__file__).parent / 'peers'))
import jax_language_model

# isort: split
import trax
from trax import optimizers

_D_MODEL, _D_FF, _D_HEADS, _VOCAB = 768, 2048, 8 * 64, 258
_KEYS_OF_LOCAL, _KEYS_OF_LSH = 2 * 128, 2 * (2 * 256)


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--layers', type=int, default=12)
  parser.add_argument('--length', type=int, default=8192)
  parser.add_argument('--repeats', type=int, default=3, help='(default: 3)')
  parser.add_argument('--output_dir', default='.')
  parser.add_argument(
    '--quick', action='store_true', help='4 layers, 1,024 tokens'
  )
  arguments = parser.parse_args()
  if arguments.quick:
    arguments.layers, arguments.length = 4, 1024
  step, program = make_step(arguments.layers, arguments.length)
  peak = peak_flops()
  times = []
  for _ in range(arguments.repeats):
    started = time.perf_counter()
    step()
    times.append(time.perf_counter() - started)
  seconds = statistics.median(times)
  flops = model_flops(arguments.layers, arguments.length)
  kinds = profile(step, program)
  whole = sum(kinds.values())
  found = dict(
    jax=jax.__version__,
    layers=arguments.layers,
    length=arguments.length,
    seconds=seconds,
    model_gflop=flops / 1e9,
    peak_gflops=peak / 1e9,
    share_of_peak=flops / seconds / peak,
    share_of_time={k: v / whole for k, v in kinds.items()},
  )
  shares = {
    kind: {'share': 100 * s} for kind, s in found['share_of_time'].items()
  }
  figure = results.bars(
    shares,
    'share of the time, %',
    f'A training step of {found["layers"]} layers, {found["length"]:,} tokens: '
    f'{found["share_of_peak"]:.0%} of the measured peak',
    decimals=1,
  )
  name = 'where_time_goes'
  results.save(arguments.output_dir, name, found, (name, figure))
  print(
    f'{arguments.layers} layers, {arguments.length} tokens: {seconds:.2f} s a '
    f'step, {flops / 1e9:.0f} GFLOP, {flops / seconds / 1e9:.0f} GFLOP/s: '
    f'{found["share_of_peak"]:.0%} of the {peak / 1e9:.0f} measured'
  )
  print('\n| what | share of the time |\n|---|---|')
  for kind, share in found['share_of_time'].items():
    print(f'| {kind} | {share:.1%} |')


def make_step(n_layers, length):
  """(function that runs a training step, the compiled program)."""
  ids = np.random.default_rng(0).integers(2, 258, (1, length)).astype(np.int32)
  batch = ids, ids, np.ones((1, length), np.float32)
  model = jax_language_model.make('ours', n_layers, length)
  weights, state = model.init(trax.shapes.signature(batch))
  optimizer = optimizers.Adam(1e-4)
  optimizer.tree_init(weights)
  options = jax.tree.map(np.asarray, optimizer.opt_params)
  loss = lambda weights, rng: model.pure_fn(batch, weights, state, rng)[0]

  def update(weights, slots, rng):
    value, gradients = jax.value_and_grad(loss)(weights, rng)
    with jax.named_scope('optimizer'):
      weights, slots, _ = optimizer.tree_update(
        1, gradients, weights, slots, options, store_slots=False
      )
    return value, weights, slots

  arguments = weights, optimizer.slots, jax.random.PRNGKey(0)
  program = jax.jit(update).lower(*arguments).compile()
  run = lambda: jax.block_until_ready(program(*arguments))
  run()
  return run, program


def peak_flops():
  """Floating-point operations a second of a large float32 product."""
  x = jnp.ones((2048, 2048), jnp.float32)
  product = jax.jit(jnp.matmul)
  times = []
  for _ in range(20):
    started = time.perf_counter()
    product(x, x).block_until_ready()
    times.append(time.perf_counter() - started)
  return 2 * 2048**3 / statistics.median(times)


def model_flops(n_layers, length):
  """Of a step: products alone, forward once and backward twice."""
  n_lsh = n_layers // 4
  n_local = n_layers - n_lsh
  projections = (4 * n_local + 3 * n_lsh) * _D_MODEL * _D_HEADS
  feed_forward = n_layers * 2 * _D_MODEL * _D_FF
  dense = projections + feed_forward + 2 * _D_MODEL * _VOCAB
  keys = n_local * _KEYS_OF_LOCAL + n_lsh * _KEYS_OF_LSH
  return 3 * 2 * length * (dense + 2 * keys * _D_HEADS)


def profile(step, program):
  """dict from kinds of work to seconds, the most first."""
  kind_of = kinds_of_operations(program.as_text())
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      step()
    (path,) = pathlib.Path(folder).glob('**/*.xplane.pb')
    data = jax.profiler.ProfileData.from_file(str(path))
    seconds = collections.Counter()
    for plane in data.planes:
      for line in plane.lines:
        for event in line.events:
          if event.name in kind_of:
            seconds[kind_of[event.name]] += event.duration_ns / 1e9
  return dict(seconds.most_common())


def kinds_of_operations(text):
  """dict from names of operations in a program's text to kinds of work.

  An operation's own kind is where it stands in the code; of those that call
  others, loops and fusions, only fusions are operations.
  """
  computation, body, calls, found = None, {}, {}, {}
  for line in text.splitlines():
    start = re.match(r'(?:ENTRY )?%?([\w.-]+) \(.*\{$', line)
    if start:
      computation = start.group(1)
      body[computation] = []
    operation = re.match(r'\s+(?:ROOT )?%?([\w.-]+) = .*? ([\w-]+)\((.*)', line)
    if operation and computation:
      name, opcode, rest = operation.groups()
      op_name = re.search(r'op_name="([^"]*)"', rest)
      op_name = op_name.group(1) if op_name else ''
      called = re.search(r'calls=%?([\w.-]+)', rest)
      body[computation].append((name, opcode, op_name))
      if opcode == 'fusion' and called:
        calls[name] = called.group(1)
  fused = set(calls.values())
  skipped = ('while', 'call', 'conditional', 'tuple', 'get-tuple-element')
  for computation, operations in body.items():
    if computation in fused:
      continue
    around = [op_name for _, _, op_name in operations if op_name]
    for name, opcode, op_name in operations:
      if opcode in skipped:
        continue
      inside = body.get(calls.get(name), [])
      opcodes = {opcode} | {x[1] for x in inside}
      names = ' '.join([op_name] + [x[2] for x in inside])
      if not names.strip():
        # Batched products lose their names: they stand with those beside them.
        names = ' '.join(_of_most(around))
      found[name] = kind_of_work(opcodes, names)
  return found


def _of_most(names):
  """The scope chunked_attention, if most names are in it."""
  scope = 'chunked_attention'
  inside = sum(scope in name for name in names)
  return [scope] if 2 * inside > len(names) else []


def kind_of_work(opcodes, names):
  """The kind of work of one operation, by what it does and where it stands."""
  if 'optimizer' in names:
    return 'optimizer'
  if 'dot' in opcodes:
    in_chunks = 'chunked_attention' in names
    return 'attention products' if in_chunks else 'dense products'
  if 'hashing' in names:
    return 'hashing'
  if 'sort' in opcodes or 'sorting' in names or 'gather' in opcodes:
    return 'sort and gather'
  if 'chunked_attention' in names:
    return 'softmax and look'
  return 'the rest: norms, residuals, loss, copies'


if __name__ == '__main__':
  main()

"""Times this package against Trax 1.4.1 on the same JAX, in one process.

Both are compiled first and then run by turns, so that whatever else the
machine does meets both alike; ratios are of the medians. Memory is XLA's own
figure for the temporary buffers of the compiled program.

  python benchmarks/compare_with_trax.py                  # ~5 minutes
  python benchmarks/compare_with_trax.py --only=small     # under a minute
  python benchmarks/compare_with_trax.py --only=layer --repeats=3
  python benchmarks/compare_with_trax.py --only=depth --output_dir=out
  python benchmarks/compare_with_trax.py --quick

Writes compare_with_trax.json and a picture of the ratios in --output_dir. depth
measures memory by depth alone, and writes memory_by_depth.json there.
"""

import argparse
import functools
import pathlib
import statistics
import sys
import time

import jax
import numpy as np
import results

import trax_reformer_ext as ext  # before Trax, whose import it fixes

sys.path.append(str(pathlib.Path(__file__).parent / 'peers'))
import jax_language_model

# isort: split
import trax
from trax import layers as tl

_MIB = 2**20


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--only',
    default='small,layer',
    help='parts to run, of small, layer and depth (default: the first two)',
  )
  parser.add_argument(
    '--repeats', type=int, default=5, help='runs of each (default: 5)'
  )
  parser.add_argument('--output_dir', default='.', help='for the results')
  parser.add_argument(
    '--quick', action='store_true', help='small alone, one run of each'
  )
  arguments = parser.parse_args()
  if arguments.quick:
    arguments.only, arguments.repeats = 'small', 1
  parts = {'small': small, 'layer': layer}
  print(f'trax {_version("trax")}, JAX {jax.__version__}, {jax.devices()[0]}')
  print(f'{"":44}  {"Trax":>19}  {"this package":>19}  ratio')
  found = {}
  for name in arguments.only.split(','):
    if name == 'depth':
      depth(arguments.output_dir)
    elif name in parts:
      found |= parts[name](arguments.repeats)
    else:
      parser.error(f'--only is {name!r}: give {", ".join(parts)}, depth')
  if found:
    figure = results.bars(
      {
        label: {'time': f['seconds'][1] / f['seconds'][0]}
        for label, f in found.items()
      },
      "time, as a part of Trax's",
      f'This package beside Trax on JAX {jax.__version__}',
    )
    picture = 'compare_with_trax', figure
    results.save(arguments.output_dir, 'compare_with_trax', found, picture)


def small(repeats):
  """Small batches of short sequences: 16 x 64 tokens, d_model 256."""
  found = {}
  for heads, rounds in ((4, 2), (4, 4), (4, 8), (8, 4)):
    lsh = dict(chunk_len=16, n_hashes=rounds, n_buckets=8, causal=True)
    options = dict(n_heads=heads, d_qk=64, d_v=64, **lsh)
    found |= compare(
      f'2 LSH layers, 16 x 64, {heads} heads, {rounds} rounds',
      *(
        _layer_gradient(
          tl.Serial(make(**options), make(**options)), (16, 64, 256)
        )
        for make in (tl.LSHSelfAttention, ext.LSHSelfAttention)
      ),
      repeats=4 * repeats,
    )
  lsh = dict(chunk_len=16, n_hashes=4, n_buckets=8)
  for heads, d_ff in ((4, 512), (8, 2048)):
    shape = dict(
      vocab_size=258,
      d_model=256,
      d_ff=d_ff,
      n_layers=2,
      n_heads=heads,
      max_len=64,
    )
    found |= compare(
      f'LM of 2 LSH layers, 16 x 64, {heads} heads, d_ff {d_ff}',
      *(
        _lm_gradient(
          tl.Serial(
            model(attention_type=functools.partial(lsh_type, **lsh), **shape),
            tl.WeightedCategoryCrossEntropy(),
          ),
          (16, 64),
        )
        for model, lsh_type in (
          (trax.models.ReformerLM, tl.LSHSelfAttention),
          (ext.ReformerLM, ext.LSHSelfAttention),
        )
      ),
      repeats=4 * repeats,
    )
  return found


def layer(repeats):
  """The LSH layer: d_model 512, 8 heads of 64, chunks of 64, causal."""
  found = {}
  for length, batch, rounds in (
    (1024, 4, 4),
    (4096, 1, 4),
    (4096, 1, 8),
    (16384, 1, 4),
  ):
    options = dict(
      n_heads=8,
      d_qk=64,
      d_v=64,
      chunk_len=64,
      n_hashes=rounds,
      n_buckets=2 * length // 64 if length < 16384 else [16, 32],
      causal=True,
    )
    for what in ('forward', 'forward+backward'):
      make = _layer_forward if what == 'forward' else _layer_gradient
      found |= compare(
        f'LSH layer {length} x {batch}, {rounds} rounds, {what}',
        make(tl.LSHSelfAttention(**options), (batch, length, 512)),
        make(ext.LSHSelfAttention(**options), (batch, length, 512)),
        repeats=repeats,
      )
  return found


def depth(folder):
  """Memory of language_model_peers.py's by depth, compiled only, as JSON."""
  stored = dict(store_activations_below=2**30)
  found = {}
  for name, kind, options, depths in (
    ('this package', 'ours', {}, (4, 8, 12, 16, 20)),
    ('this package, activations stored', 'ours', stored, (4, 8, 12)),
    ('Trax', 'trax', {}, (4, 8, 12)),
  ):
    found[name] = {}
    for n_layers in depths:
      layer = jax_language_model.make(kind, n_layers, 8192, **options)
      program = _lm_gradient(layer, (1, 8192))
      found[name][n_layers] = round(program.temp_mib, 1)
      print(f'{name}, {n_layers} layers: {found[name][n_layers]:.0f} MiB')
  results.save(folder, 'memory_by_depth', found)
  print('trax-reformer plot memory draws memory_by_depth.json')


def compare(name, of_trax, ours, repeats):
  """Runs two compiled programs by turns and prints a line.

  Returns:
    dict from the name to figures of both, Trax's first.
  """
  programs = of_trax, ours
  times = [], []
  for program in programs:
    program.run()
  for _ in range(repeats):
    for seconds, program in zip(times, programs, strict=True):
      start = time.perf_counter()
      program.run()
      seconds.append(time.perf_counter() - start)
  medians = [statistics.median(x) for x in times]
  columns = (
    f'{m:7.3f} s {p.temp_mib:6.0f} MiB'
    for m, p in zip(medians, programs, strict=True)
  )
  print(
    f'{name:44}  {"  ".join(columns)}  {medians[1] / medians[0]:5.2f}',
    flush=True,
  )
  return {name: dict(seconds=medians, temp_mib=[p.temp_mib for p in programs])}


class _Program:
  """A compiled function with its arguments."""

  def __init__(self, fn, *arguments):
    self._compiled = jax.jit(fn).lower(*arguments).compile()
    self._arguments = arguments
    memory = self._compiled.memory_analysis()
    self.temp_mib = memory.temp_size_in_bytes / _MIB

  def run(self):
    jax.block_until_ready(self._compiled(*self._arguments))


def _layer_arguments(layer, shape):
  x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
  weights, state = layer.init(trax.shapes.signature(x))
  return x, weights, state, jax.random.PRNGKey(0)


def _layer_forward(layer, shape):
  return _Program(
    lambda *arguments: layer.pure_fn(*arguments)[0],
    *_layer_arguments(layer, shape),
  )


def _layer_gradient(layer, shape):
  def gradient(x, weights, state, rng):
    run = lambda x, weights: layer.pure_fn(x, weights, state, rng)[0]
    y, vjp = jax.vjp(run, x, weights)
    return y, vjp(y)

  return _Program(gradient, *_layer_arguments(layer, shape))


def _lm_gradient(layer, shape):
  ids = np.random.default_rng(0).integers(2, 258, shape).astype(np.int32)
  batch = ids, ids, np.ones(shape, np.float32)
  weights, state = layer.init(trax.shapes.signature(batch))
  gradient = jax.value_and_grad(
    lambda weights, state, rng: layer.pure_fn(batch, weights, state, rng)[0]
  )
  return _Program(gradient, weights, state, jax.random.PRNGKey(0))


def _version(package):
  from importlib import metadata

  return metadata.version(package)


if __name__ == '__main__':
  main()

"""Times attention layers on a GPU, one JSON object a line for each row.

Needs JAX, numpy and this package's own operations. First how far the fused
kernels and XLA's operations are from a float32 reference, in every mode; then
the LSH layer and exact attention by cuDNN, by length. seconds is the median of
three turns of several runs; temp_mib is what XLA sets aside beside arguments
and results; share_of_peak is of an H100's 989e12 bfloat16 operations a second.

  python benchmarks/gpu_rows/layers.py
  python benchmarks/gpu_rows/layers.py --quick  # short, also without a GPU
"""

import concurrent.futures
import functools
import os
import statistics
import time

os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')

# ruff: noqa: E402
import ops_alone

ops_alone.make_importable()

import jax
import jax.numpy as jnp
import lsh_layer
import numpy as np
import rows

from trax_reformer_ext.ops.local_attention import local_attention
from trax_reformer_ext.ops.lsh_attention import lsh_attention

_PEAK = 989e12
_TURN_SECONDS = 0.05
_MODES = {
  'ring': {},
  'no wrap': dict(wrap=False),
  'paper': dict(attend_across_buckets=False, allow_duplicate_attention=False),
  'own buckets': dict(attend_across_buckets=False),
  'each pair once': dict(allow_duplicate_attention=False),
  'strictly causal': dict(strictly_causal=True),
  'local': None,
  'local, shared': None,
}


def main():
  arguments = rows.parser(__doc__, seconds=150).parse_args()
  ends = time.monotonic() + arguments.seconds
  on_gpu = jax.default_backend() == 'gpu'
  fused = 'fused' if on_gpu else 'interpreted'
  rows.tell(
    dict(
      name='device', device=jax.devices()[0].device_kind, jax=jax.__version__
    )
  )
  jobs = error_jobs(fused, arguments.quick)
  jobs += timing_jobs(fused, on_gpu, arguments.quick)
  run(jobs, ends)


def run(jobs, ends):
  """Compiles a few jobs in parallel and runs them one after another; again.

  Args:
    jobs: list of (name, function that compiles and returns a function that
      runs and returns a dict).
    ends: seconds of time.monotonic() after which no job is started.
  """
  n_workers = max(1, (os.cpu_count() or 2) - 2)
  with concurrent.futures.ThreadPoolExecutor(n_workers) as pool:
    while jobs and time.monotonic() < ends:
      wave, jobs = jobs[:n_workers], jobs[n_workers:]
      compiled = [(name, pool.submit(make)) for name, make in wave]
      # Compiling at the same time would disturb the timing.
      concurrent.futures.wait([future for _, future in compiled])
      for name, future in compiled:
        try:
          rows.tell(dict(name=name, **future.result()()))
        except Exception as e:
          rows.tell(dict(name=name, error=rows.said_by(e)))
  if jobs:
    rows.tell(dict(left_out=[name for name, _ in jobs]))


def error_jobs(fused, quick):
  """Jobs that compare value and gradients with a float32 reference."""
  length = 300 if quick else 2011
  modes = ['ring'] if quick else _MODES
  return [
    (
      f'error, {mode}, {dtype}',
      functools.partial(make_error, mode, dtype, fused, length),
    )
    for dtype in (('bfloat16',) if quick else ('bfloat16', 'float32'))
    for mode in modes
  ]


def make_error(mode, dtype, fused, length):
  """Compiles one comparison on random queries, values, buckets and padding."""
  rng = np.random.default_rng(0)
  normal = lambda: jnp.asarray(rng.normal(size=(2, 4, length, 64)) / 2, dtype)
  arrays = normal(), normal(), normal(), normal()
  # Arguments too: XLA would sort constants when it compiles.
  given = (
    jnp.asarray(rng.random((2, length)) < 0.8),
    jnp.asarray(rng.integers(0, 64, (2, 4, 4, length)), jnp.int32),
  )

  def attend(implementation, mask, buckets, q, k, v):
    if mode.startswith('local'):
      return local_attention(
        q,
        k if mode == 'local' else None,
        v,
        mask,
        chunk_len=128,
        n_chunks_before=1,
        causal=True,
        implementation=implementation,
      )
    return lsh_attention(
      q,
      v,
      buckets,
      mask,
      n_buckets=64,
      chunk_len=64,
      causal=True,
      implementation=implementation,
      **_MODES[mode],
    )

  def both(implementation, given, arrays):
    *inputs, d_out = arrays
    attend_to = functools.partial(attend, implementation, *given)
    out, vjp = jax.vjp(attend_to, *inputs)
    return out, *vjp(d_out)

  def compiled(implementation, precision, arrays):
    with jax.default_matmul_precision(precision):
      run = jax.jit(functools.partial(both, implementation))
      return run.lower(given, arrays).compile()

  precision = 'highest' if dtype == 'float32' else 'default'
  exact = jax.tree.map(lambda x: x.astype(jnp.float32), arrays)
  reference = compiled('xla', 'highest', exact)
  programs = {
    name: compiled(implementation, precision, arrays)
    for name, implementation in (('xla', 'xla'), ('fused', fused))
  }

  def compare():
    right = reference(given, exact)
    return {
      name: [
        relative(x, y)
        for x, y in zip(program(given, arrays), right, strict=True)
      ]
      for name, program in programs.items()
    }

  return compare


def relative(x, right):
  """|x - right| / |right|; 0 where both are zero, as unused keys' are."""
  x, right = (np.asarray(a.astype(jnp.float32), np.float64) for a in (x, right))
  size = np.linalg.norm(right)
  return float(np.linalg.norm(x - right) / size) if size else 0.0


def timing_jobs(fused, on_gpu, quick):
  """Jobs that time layers, the most important first."""
  lengths = (
    (256,) if quick else (65536, 16384, 8192, 4096, 1024, 262144, 1048576, 2048)
  )
  jobs = []
  add = lambda *what, **options: jobs.append(
    timing_job(*what, on_gpu=on_gpu, **options)
  )
  for length in lengths:
    for backward in (True, False):
      for implementation in (fused, 'xla'):
        add('LSH', length, 'bfloat16', implementation, backward)
      if length <= 262144:
        library = 'cudnn' if on_gpu else None
        add('exact', length, 'bfloat16', library, backward)
  if quick:
    return jobs
  for length in lengths[:4]:
    add('LSH', length, 'bfloat16', fused, True, strictly_causal=True)
  for n_hashes in (1, 2, 8):
    add('LSH', lengths[0], 'bfloat16', fused, True, n_hashes=n_hashes)
  add('LSH', lengths[0], 'bfloat16', 'xla', True, strictly_causal=True)
  for length in lengths:
    for implementation in (fused, 'xla'):
      add('LSH', length, 'float32', implementation, True)
  return jobs


def timing_job(
  kind, length, dtype, implementation, backward, on_gpu, n_hashes=4, **options
):
  """(name, function that compiles) of a layer's row."""
  if kind == 'exact':
    layer, n_hashes, said = lsh_layer.exact, None, implementation or 'jax'
  else:
    layer, said = lsh_layer.lsh, f'{implementation}, {n_hashes} rounds'
    options['n_hashes'] = n_hashes
  if options.get('strictly_causal'):
    said += ', strictly causal'
  passes = 'forward+backward' if backward else 'forward'

  def make():
    layer_of = functools.partial(
      layer, implementation=implementation, **options
    )

    def gradient(*arguments):
      y, vjp = jax.vjp(layer_of, *arguments)
      return y, vjp(y)

    n_projections = 3 if kind == 'exact' else 2
    shapes = jax.eval_shape(
      functools.partial(
        lsh_layer.make_inputs, length, dtype, n_projections=n_projections
      )
    )
    program = jax.jit(gradient if backward else layer_of)
    program = program.lower(*shapes).compile()

    def measure():
      arguments = lsh_layer.make_inputs(
        length, dtype, n_projections=n_projections
      )
      seconds = median_seconds(program, arguments)
      row = dict(
        seconds=seconds,
        temp_mib=program.memory_analysis().temp_size_in_bytes / 2**20,
      )
      if on_gpu and dtype == 'bfloat16':
        flops = lsh_layer.flops(length, backward, n_hashes)
        row['share_of_peak'] = flops / seconds / _PEAK
      return row

    return measure

  return f'{kind}, {length:,}, {dtype}, {said}, {passes}', make


def median_seconds(program, arguments):
  """Seconds of a run: the median of three turns of as many as take a while."""
  run = lambda: jax.block_until_ready(program(*arguments))
  run()
  started = time.perf_counter()
  run()
  one = time.perf_counter() - started
  n, times = max(1, min(50, int(_TURN_SECONDS / one))), []
  for _ in range(3 if one < 1 else 1):
    started = time.perf_counter()
    for _ in range(n):
      results = program(*arguments)
    jax.block_until_ready(results)
    times.append((time.perf_counter() - started) / n)
  return statistics.median(times)


if __name__ == '__main__':
  main()

"""Times whole models on a GPU, one JSON object a line for each row.

Loss and gradient of language models, one sequence of 1,048,576 tokens, and
generation. The most important rows come first, and each is printed when it is
done; no row is started after --seconds.

  python benchmarks/gpu_rows/models.py
  python benchmarks/gpu_rows/models.py --quick  # small, also without a GPU
  python benchmarks/gpu_rows/models.py --row='long, 1,048,576, bfloat16, fused'

Needs trax and gin-config, and no TensorFlow: stand_ins takes its place where it
is not installed. Every row runs in its own process, as the peak memory that a
device reports never goes down within one.

- lm: 12 layers in the shape of peers/jax_language_model.py without dropout,
  whose feed-forward and loss work on slices of 1,024 positions;
- lm in one slice: the same on the whole length at once;
- exact: the same with cuDNN's causal attention in every layer;
- long: gin_configs/models/reformer_lm_1m.gin;
- generation: the 12 layers with strictly causal LSH attention. Prompt, start
  token and what is added fill the context; the prompt's pass is over all of it.

seconds is the median of runs after the first, compile_seconds the time to trace
and compile (generation: what the first run took longer). gradient_norm is of
all weights. device_peak_mib is the process's, with weights and gradient.

share_of_peak is model_flops / (seconds * 989e12), an H100's dense bfloat16.
model_flops = 6 * parameters * tokens + 12 * heads * depth * keys * tokens over
the layers. Parameters are those of products: not embedding, positions, biases
or normalisation. Keys are those a query is compared with: 2 chunks in local
attention, as many in each round of LSH, half the length in exact attention.
What the reversible backward pass computes again does not count.
"""

import functools
import importlib
import importlib.util
import os
import pathlib
import random
import statistics
import subprocess
import sys
import time
import traceback

import rows

_FOLDER = pathlib.Path(__file__).resolve().parent
_ROOT = _FOLDER.parents[1]
_PEAK = 989e12
_RUNS, _RUN_SECONDS = 10, 5
_N_PIECES, _PIECE = 4, 32  # of tokens that are generated
_VOCABULARY = 258


def main():
  parser = rows.parser(__doc__, seconds=240)
  parser.add_argument(
    '--row_seconds',
    type=float,
    default=120,
    help='a row that takes longer is stopped',
  )
  parser.add_argument('--row', help='runs this row alone, in this process')
  arguments = parser.parse_args()
  os.environ.update(
    XLA_PYTHON_CLIENT_PREALLOCATE='false',
    JAX_ENABLE_COMPILATION_CACHE='false',
    PYTHONWARNINGS='ignore::SyntaxWarning',  # Trax's, in the rows' processes
  )
  if arguments.row:
    run_here(arguments.row, arguments.quick)
  else:
    run_all(arguments)


def rows_by_name(quick):
  """The rows by name: (function, arguments), in their order."""
  short, long, longest = (256, 1024, 1024) if quick else (2**13, 2**16, 2**20)
  context = 512 if quick else 2**16
  order = [
    (language_model, short, 'bfloat16', 'fused'),
    (in_one_slice, short, 'bfloat16', 'fused'),
    (language_model, short, 'bfloat16', 'exact'),
    (in_one_slice, short, 'bfloat16', 'exact'),
    (long_sequence, longest, 'bfloat16', 'fused'),
    (language_model, long, 'bfloat16', 'fused'),
    (generation, context, 'bfloat16', 'fused'),
    (language_model, long, 'bfloat16', 'exact'),
    (long_sequence, longest, 'bfloat16', 'xla'),
    (language_model, short, 'bfloat16', 'xla'),
    (generation, context, 'bfloat16', 'xla'),
    (language_model, long, 'bfloat16', 'xla'),
    (language_model, short, 'float32', 'fused'),
    (language_model, short, 'float32', 'xla'),
    (language_model, long, 'float32', 'fused'),
    (language_model, long, 'float32', 'xla'),
    (long_sequence, longest, 'float32', 'fused'),
    (long_sequence, longest, 'float32', 'xla'),
  ]
  kinds = {
    language_model: 'lm',
    in_one_slice: 'lm in one slice',
    long_sequence: 'long',
    generation: 'generation',
  }
  return {
    f'{kinds[run]}, {length:,}, {dtype}, {attention}': (
      run,
      (length, dtype, attention),
    )
    for run, length, dtype, attention in order
  }


def run_all(arguments):
  """Runs and prints the rows, each in its own process."""
  ends = time.monotonic() + arguments.seconds
  names = list(rows_by_name(arguments.quick))
  if arguments.quick and not _has_gpu():
    # One of each kind will do, so that two minutes are enough.
    names = [name for name in names if 'fused' not in name]
    names = [n for n in names if 'float32' not in n and 'slice' not in n]
    names = [n for n in names if not n.startswith('lm, 1')]
  for i, name in enumerate(names):
    if time.monotonic() > ends:
      rows.tell(dict(left_out=names[i:]))
      return
    command = [sys.executable, __file__, f'--row={name}']
    try:
      process = subprocess.run(
        command + ['--quick'] * arguments.quick,
        stdout=subprocess.PIPE,
        text=True,
        timeout=arguments.row_seconds,
      )
    except subprocess.TimeoutExpired:
      rows.tell(
        dict(name=name, error=f'not done in {arguments.row_seconds:g} s')
      )
      continue
    lines = [x for x in process.stdout.splitlines() if x.startswith('{"name"')]
    if lines:
      print(lines[-1], flush=True)
    else:
      rows.tell(dict(name=name, error=f'exit code {process.returncode}'))


def run_here(name, quick):
  """Runs and prints one row; a failure becomes a line, too."""
  import_package()
  try:
    run, what = rows_by_name(quick)[name]
    import jax

    device = jax.local_devices()[0]
    row = dict(name=name, **run(*what, quick))
    row['device_peak_mib'] = None
    if stats := device.memory_stats():
      row['device_peak_mib'] = _mib(stats['peak_bytes_in_use'])
    if 'bfloat16' in name and device.platform == 'gpu' and 'model_flops' in row:
      row['share_of_peak'] = row['model_flops'] / row['seconds'] / _PEAK
    row.update(device=device.device_kind, jax=jax.__version__)
  except Exception as e:
    traceback.print_exc()
    row = dict(name=name, error=rows.said_by(e))
  rows.tell(row)


def import_package():
  """Imports this checkout's package, and what Trax needs and isn't there."""
  sys.path[:0] = [str(_ROOT), str(_FOLDER)]
  if importlib.util.find_spec('tensorflow') is None:
    import stand_ins

    stand_ins.install()
  # Before Trax, whose import it fixes; the functions below import in any order.
  importlib.import_module('trax_reformer_ext')


def in_one_slice(length, dtype, attention, quick):
  """The row of 12 layers without slices of the length."""
  return language_model(length, dtype, attention, quick, chunk_size=length)


def language_model(length, dtype, attention, quick, chunk_size=1024):
  """The row of loss and gradient of 12 layers."""
  shape = lm_shape(quick)
  model = lm(attention, dtype, length, shape, chunk_size)
  if attention == 'exact':
    layers = [exact_flops(length)] * 4
  else:
    local = window_flops(3, 128)
    layers = [local, local, window_flops(2, 256, n_hashes=2), local]
  flops = model_flops(length, layers, shape)
  return dict(loss_and_gradient(model, length, quick), model_flops=flops)


def long_sequence(length, dtype, attention, quick):
  """The row of loss and gradient of one very long sequence."""
  import gin

  import trax_reformer_ext as ext

  gin.parse_config_file(str(_ROOT / 'gin_configs/models/reformer_lm_1m.gin'))
  n_layers = 2 if quick else 6
  # What is given here beside the implementation is the config's.
  kinds = [
    functools.partial(kind, implementation=attention)
    for kind in (ext.SelfAttention, ext.LSHSelfAttention)
  ]
  model = ext.ReformerLM(
    mode='train',
    n_layers=n_layers,
    attention_type=kinds,
    activation_dtype=dtype,
  )
  shape = dict(d_model=256, d_ff=1024, n_layers=n_layers, n_heads=4)
  layers = [window_flops(3, 64), window_flops(2, 64)]
  flops = model_flops(length, layers, shape)
  return dict(loss_and_gradient(model, length, quick), model_flops=flops)


def generation(context, dtype, attention, quick):
  """The row of a prompt's pass and the tokens after it."""
  import jax
  import numpy as np

  from trax_reformer_ext.decoding import Generator

  model = lm(
    attention,
    dtype,
    context,
    lm_shape(quick),
    lsh=dict(n_buckets=2 * context // 256, strictly_causal=True),
    mode='predict',
    predict_mem_len=context,
  )
  initialise(model, jax.ShapeDtypeStruct((1, 1), np.int32))
  generator = Generator(model, longest=context, piece=_PIECE)
  n_added = _N_PIECES * _PIECE
  prompt = np.random.default_rng(0).integers(
    2, _VOCABULARY, context - 1 - n_added
  )

  def measure():
    times = [time.perf_counter()]
    for _ in generator.generate([prompt], n_added):
      times.append(time.perf_counter())
    first, *pieces = np.diff(times)
    piece = statistics.median(pieces)
    return times[-1] - times[0], float(first - piece), float(piece)

  whole, *_ = measure()
  turns = [measure() for _ in range(1 if quick else 3)]
  again, prefill, piece = map(statistics.median, zip(*turns, strict=True))
  return dict(
    seconds=prefill,
    ms_a_token=1e3 * piece / _PIECE,
    prompt=len(prompt),
    runs=len(turns),
    compile_seconds=whole - again,
  )


def lm_shape(quick):
  """Sizes of the model of 12 layers, or of its small likeness."""
  if quick:
    return dict(d_model=64, d_ff=128, n_layers=4, n_heads=2)
  return dict(d_model=768, d_ff=2048, n_layers=12, n_heads=8)


def lm(
  attention,
  dtype,
  length,
  shape,
  chunk_size=1024,
  lsh=None,
  mode='train',
  **options,
):
  """The model of 12 layers, without loss and weights."""
  from trax import layers as tl

  import trax_reformer_ext as ext

  if attention == 'exact':
    kinds = [exact_attention()] * 4
  else:
    local = functools.partial(
      ext.SelfAttention,
      chunk_len=128,
      n_chunks_before=1,
      implementation=attention,
    )
    hashed = functools.partial(
      ext.LSHSelfAttention,
      chunk_len=256,
      n_hashes=2,
      n_chunks_before=1,
      **(lsh or dict(n_buckets=64)),
      implementation=attention,
    )
    kinds = [local, local, hashed, local]
  return ext.ReformerLM(
    vocab_size=_VOCABULARY,
    dropout=0.0,
    max_len=length,
    attention_type=kinds,
    ff_activation=tl.Relu,
    ff_chunk_size=chunk_size,
    loss_chunk_size=chunk_size,
    activation_dtype=dtype,
    mode=mode,
    **shape,
    **options,
  )


def exact_attention():
  """A layer like SelfAttention, by cuDNN's causal attention on a GPU."""
  import jax
  import jax.numpy as jnp

  import trax_reformer_ext as ext

  library = 'cudnn' if jax.default_backend() == 'gpu' else None

  class ExactAttention(ext.SelfAttention):
    def _attend(self, heads, mask, attend_rng, constants, saved):
      q, k, v = (jnp.swapaxes(x, 1, 2) for x in heads)
      out = jax.nn.dot_product_attention(
        q, k, v, is_causal=True, implementation=library
      )
      return jnp.swapaxes(out, 1, 2), ()

  return ExactAttention


def initialise(layer, signature):
  """Gives a layer the weights of a fixed seed, on the device."""
  import jax

  random.seed(0)
  layer.init(signature, rng=jax.random.PRNGKey(0))
  layer.weights = jax.device_put(layer.weights)


def loss_and_gradient(model, length, quick):
  """Compiles and times them: the row's figures."""
  import jax
  import numpy as np
  from trax import layers as tl

  import trax_reformer_ext as ext

  layer = tl.Serial(model, ext.ChunkedCrossEntropyLoss())
  shapes = [
    jax.ShapeDtypeStruct((1, min(length, 1024)), dtype)
    for dtype in (np.int32, np.int32, np.float32)
  ]
  initialise(layer, tuple(shapes))
  ids = np.random.default_rng(0).integers(2, _VOCABULARY, (1, length))
  ids = ids.astype(np.int32)
  batch = ids, ids, np.ones(ids.shape, np.float32)

  def loss(weights, batch, state, rng):
    return layer.pure_fn(batch, weights, state, rng)[0]

  arguments = jax.device_put(
    (layer.weights, batch, layer.state, jax.random.PRNGKey(0))
  )
  started = time.perf_counter()
  program = jax.jit(jax.value_and_grad(loss)).lower(*arguments).compile()
  compile_seconds = time.perf_counter() - started
  value, gradient = jax.block_until_ready(program(*arguments))
  norms = [np.linalg.norm(np.ravel(x)) for x in jax.tree.leaves(gradient)]
  del gradient
  times = []
  while not times or (
    not quick and len(times) < _RUNS and sum(times) < _RUN_SECONDS
  ):
    started = time.perf_counter()
    jax.block_until_ready(program(*arguments))
    times.append(time.perf_counter() - started)
  return dict(
    seconds=statistics.median(times),
    runs=len(times),
    compile_seconds=compile_seconds,
    xla_temp_mib=_mib(program.memory_analysis().temp_size_in_bytes),
    loss=float(value),
    gradient_norm=float(np.linalg.norm(norms)),
    parameters=sum(x.size for x in jax.tree.leaves(layer.weights)),
  )


def window_flops(n_projections, chunk_len, n_hashes=1):
  """(inward projections, keys a query is compared with) of a layer."""
  return n_projections, 2 * chunk_len * n_hashes


def exact_flops(length):
  """As window_flops, of exact causal attention."""
  return 3, length / 2


def model_flops(length, layers, shape, depth=64):
  """As the module says.

  Args:
    length: int, tokens.
    layers: pairs of window_flops, one for each layer, repeated as needed.
    shape: dict, as lm_shape.
    depth: int, of queries, keys and values.
  """
  d_model, heads = shape['d_model'], shape['n_heads']
  parameters, attention = 2 * d_model * _VOCABULARY, 0
  for i in range(shape['n_layers']):
    n_projections, keys = layers[i % len(layers)]
    parameters += (n_projections + 1) * d_model * heads * depth
    parameters += 2 * d_model * shape['d_ff']
    attention += 12 * heads * depth * keys
  return int((6 * parameters + attention) * length)


def _has_gpu():
  chosen = os.environ.get('JAX_PLATFORMS')
  return chosen != 'cpu' and pathlib.Path('/dev/nvidiactl').exists()


def _mib(n_bytes):
  return round(n_bytes / 2**20, 1)


if __name__ == '__main__':
  main()

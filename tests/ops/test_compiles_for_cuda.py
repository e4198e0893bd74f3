"""The fused kernels compile for GPUs, without one, and keep to the registers.

A kernel that spills registers to memory can be several times slower: only the
few in MAY_SPILL may. Most are within ten of the 255 registers that a thread can
have, so what compiles them counts too, JAX's Triton and NVIDIA's ptxas.

Needs, of JAX's version, jax-cuda13-plugin and jax-cuda13-pjrt, and of CUDA 13
nvidia-cuda-nvcc and nvidia-nvvm, all installed with pip's --no-deps. Separate
processes compile, as their JAX needs other flags.
"""

import functools
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

_ROOT = pathlib.Path(__file__).parents[2]
_PLUGIN = 'jax_cuda13_plugin'


class Gpu(NamedTuple):
  """What XLA wants to know of a GPU."""

  name: str
  major: int
  minor: int
  n_cores: int
  shared_memory: int
  shared_memory_per_core: int
  l2: int
  bandwidth: int
  clock_ghz: float


GPUS = {
  'H100': Gpu(
    name='NVIDIA H100 80GB HBM3',
    major=9,
    minor=0,
    n_cores=132,
    shared_memory=232448,
    shared_memory_per_core=233472,
    l2=52428800,
    bandwidth=3352320000000,
    clock_ghz=1.98,
  ),
  'A100': Gpu(
    name='NVIDIA A100-SXM4-80GB',
    major=8,
    minor=0,
    n_cores=108,
    shared_memory=166912,
    shared_memory_per_core=167936,
    l2=41943040,
    bandwidth=2039000000000,
    clock_ghz=1.41,
  ),
}

# Look's flags, by mode.
_LOOKS = {
  'ring': dict(causal=True, ring=True),
  'no wrap': dict(causal=True, ring=False),
  'paper': dict(
    causal=False, n_chunks_after=1, ring=False, intervals=True, count_once=True
  ),
  'strictly causal': dict(
    causal=True, ring=False, intervals=True, count_once=True
  ),
  'local': dict(causal=True, ring=True, shared_qk=False),
}


class Case(NamedTuple):
  """A kernel, or a layer, and shapes for it."""

  what: str
  mode: str = 'ring'
  dtype: str = 'bfloat16'
  chunk_len: int = 64
  d: int = 64
  rounds: int = 4
  length: int = 65536
  dropout: bool = False
  factors: tuple = ()
  gpu: str = 'H100'

  def __str__(self):
    default = self._field_defaults
    others = (
      f'{name} {x}'
      for name, x in self._asdict().items()
      if name in default and x != default[name]
    )
    return ', '.join([self.what, *others])


# The least and the most that a kernel of LSH attention does.
_LSH = 'ring', 'strictly causal'
# On an H100 the first two were faster than what does not spill; with 128
# features other tiles do not fit. The next two spill a few bytes, on some
# versions of JAX. An A100 has not been measured.
MAY_SPILL = [
  *(Case('backward', mode=mode, d=128) for mode in _LSH),
  *(Case('backward', mode=mode, dtype='float32') for mode in _LSH),
  Case('backward', dropout=True),
  Case('backward', mode='strictly causal', rounds=8, length=1048576),
  *(Case('backward', mode=mode, gpu='A100') for mode in _LSH),
]


def _shapes(mode):
  """Chunk lengths, rounds and lengths."""
  if mode == 'local':
    return (64, 1, 65536), (128, 1, 4096)
  shapes = (64, 4, 65536), (128, 2, 4096), (64, 8, 1048576)
  return shapes + (((64, 1, 4096),) if mode in _LSH else ())


def _of_mode(mode):
  for chunk_len, rounds, length in _shapes(mode):
    for what in ('forward', 'backward'):
      shape = dict(chunk_len=chunk_len, rounds=rounds, length=length)
      case = Case(what, mode=mode, **shape)
      if case not in MAY_SPILL:
        yield case


GROUPS = {
  **{mode: list(_of_mode(mode)) for mode in _LOOKS},
  'other shapes': [
    Case('forward', dropout=True),
    *(Case('forward', mode=mode, dtype='float32') for mode in _LOOKS),
    *(Case('forward', mode=mode, d=128) for mode in _LSH),
    *(Case('forward', mode=mode, gpu='A100') for mode in _LSH),
    Case('backward', mode='strictly causal', rounds=8),
  ],
  'hash': [
    Case('hash', length=2048, factors=(64,)),
    Case('hash', length=4096, factors=(128,)),
    Case('hash', length=65536, factors=(64, 32)),
    Case('hash', length=3840, factors=(12, 10)),
  ],
}
_LAYER = Case('layer')
# A kernel that would need far more registers than there are.
_TOO_LARGE = Case('too large', chunk_len=128, rounds=1, length=4096)
_CASES = {
  str(case): case
  for cases in (*GROUPS.values(), MAY_SPILL, [_LAYER, _TOO_LARGE])
  for case in cases
}


def _why_not():
  """Why nothing can be compiled for CUDA here, or None."""
  if importlib.util.find_spec(_PLUGIN) is None:
    return f'{_PLUGIN} is not installed'
  plugin = importlib.metadata.version(_PLUGIN)
  if plugin != jax.__version__:
    return f'{_PLUGIN} is {plugin}, JAX {jax.__version__}'
  return None


pytestmark = pytest.mark.skipif(_why_not() is not None, reason=str(_why_not()))


def _compile(cases, gate=True):
  """Compiles cases in a separate process.

  Returns:
    dict of {str(case): (what is wrong or None, MiB of temporary memory)}.
  """
  # What tests/conftest.py sets would compile differently, or not at all.
  env = {k: v for k, v in os.environ.items() if 'COMPILATION_CACHE' not in k}
  flags = ['--xla_gpu_autotune_level=0']
  if gate:
    flags += ['--xla_gpu_fail_ptx_compilation_on_register_spilling=true']
  env |= dict(
    JAX_PLATFORMS='cpu',
    JAX_SKIP_CUDA_CONSTRAINTS_CHECK='1',
    XLA_FLAGS=' '.join(flags),
  )
  command = [sys.executable, '-m', 'tests.ops.test_compiles_for_cuda']
  done = subprocess.run(
    command + [str(case) for case in cases],
    cwd=_ROOT,
    env=env,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  results = {}
  for line in done.stdout.splitlines():
    name, *result = json.loads(line)
    print(name, *result)
    results[name] = result
  assert list(results) == [str(case) for case in cases]
  return results


def _wrong(cases, gate=True):
  """What is wrong with cases, by name."""
  results = _compile(cases, gate)
  return {name: wrong for name, (wrong, _) in results.items() if wrong}


@pytest.mark.parametrize('group', GROUPS)
def test_compiles_without_spilling(group):
  assert _wrong(GROUPS[group]) == {}


def test_compiles_with_spilling():
  assert _wrong(MAY_SPILL, gate=False) == {}


def test_spilling_is_noticed():
  ((wrong, _),) = _compile([_TOO_LARGE]).values()
  assert 'spill' in wrong


def test_memory_of_a_layer():
  ((wrong, mib),) = _compile([_LAYER]).values()
  assert wrong is None
  # An H100, which chooses other algorithms for products, takes 529.
  assert mib < 600


# What follows runs in the process that compiles.


def _device(gpu):
  """A device to compile for."""
  from jax.experimental import topologies

  description = f"""
    gpu_device_info {{
      threads_per_block_limit: 1024 threads_per_warp: 32
      shared_memory_per_block: 49152
      shared_memory_per_core: {gpu.shared_memory_per_core}
      shared_memory_per_block_optin: {gpu.shared_memory}
      threads_per_core_limit: 2048
      core_count: {gpu.n_cores} fpus_per_core: {128 if gpu.major > 8 else 64}
      block_dim_limit_x: 2147483647
      block_dim_limit_y: 65535 block_dim_limit_z: 65535
      memory_bandwidth: {gpu.bandwidth} l2_cache_size: {gpu.l2}
      clock_rate_ghz: {gpu.clock_ghz} device_memory_size: 84929347584
      cuda_compute_capability {{ major: {gpu.major} minor: {gpu.minor} }}
      registers_per_core_limit: 65536 registers_per_block_limit: 65536
    }}
    platform_name: "CUDA"
    dnn_version_info {{ major: 9 minor: 10 }}
    runtime_version {{ major: 13 minor: 0 patch: 0 }}
    device_description_str: "{gpu.name}"
  """
  topology = topologies.get_topology_desc(
    platform='cuda', target_config=description, topology='1x1x1'
  )
  return topology.devices[0]


def _program(case):
  """(function, its arguments as ShapeDtypeStruct)."""
  from trax_reformer_ext.ops import fused_attention, hashing, triton_attention
  from trax_reformer_ext.ops.look import Look, Orders

  n, length, rounds, factors = 8, case.length, case.rounds, list(case.factors)
  of_type = lambda dtype, *shape: jax.ShapeDtypeStruct(shape, dtype)
  x = of_type(case.dtype, n, length, case.d)
  each = of_type(jnp.float32, n, length)
  position = of_type(jnp.int32, n, length)
  order = of_type(jnp.int32, n, rounds, length)
  if case.what == 'hash':
    rotations = of_type(jnp.float32, n, case.d, rounds, sum(factors) // 2)
    vecs = of_type(case.dtype, 1, n, length, case.d)
    run = lambda *xs: hashing.hash_vectors(*xs, factors, 'fused')
    return run, (vecs, rotations)

  if case.what == 'layer':
    import lsh_layer

    make = functools.partial(lsh_layer.make_inputs, length, case.dtype)
    layer = functools.partial(
      lsh_layer.lsh, n_hashes=rounds, implementation='fused'
    )

    def with_gradient(*arguments):
      y, vjp = jax.vjp(layer, *arguments)
      return y, vjp(y)

    return with_gradient, jax.eval_shape(make)

  flags = dict(n_chunks_before=1, n_chunks_after=0, shared_qk=True)
  look = Look(chunk_len=case.chunk_len, **(flags | _LOOKS[case.mode]))
  if case.what == 'too large':
    arrays = dict(q=x, v=x, key_position=position, inverse=each, order=order)
    arrays |= dict(d_out=x, log_norm=each, inner=each)
    options = triton_attention.Options(own_len=128, other_len=128, num_warps=4)
    run = lambda xs: triton_attention.backward(
      look, xs, rounds, options=options
    )
    return run, (arrays,)

  orders = None
  if case.mode != 'local':
    orders = Orders(order, order, *[order if look.intervals else None] * 2)
  multiplier = None
  if case.dropout:
    multiplier = of_type(jnp.float32, *look.block(length))
  inputs = x, None if look.shared_qk else x, x, position, orders
  run = getattr(fused_attention, case.what)
  if case.what == 'backward':
    inputs += x, each, None, x
  run = functools.partial(run, look, interpret=False)
  return run, (multiplier, *inputs)


def _memory(case):
  """Compiles.

  Returns:
    float, MiB of temporary memory.
  """
  from jax.sharding import AbstractDevice, AbstractMesh, SingleDeviceSharding

  gpu = GPUS[case.gpu]
  fn, args = _program(case)
  there = SingleDeviceSharding(_device(gpu))
  args = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=there), args
  )
  kind = AbstractDevice(
    device_kind=gpu.name, num_cores=gpu.n_cores, platform='gpu'
  )
  with jax.sharding.use_abstract_mesh(
    AbstractMesh((), (), abstract_device=kind)
  ):
    lowered = jax.jit(fn).trace(*args).lower(lowering_platforms=('cuda',))
  return lowered.compile().memory_analysis().temp_size_in_bytes / 2**20


def _main(names):
  # The package's __init__ would import Trax, which takes longer.
  sys.path.append(str(_ROOT / 'benchmarks' / 'gpu_rows'))
  import ops_alone

  ops_alone.make_importable()
  for name in names:
    wrong = mib = None
    try:
      mib = _memory(_CASES[name])
    except Exception as e:  # what compiling raises is not documented
      wrong = f'{type(e).__name__}: {e}'
    print(json.dumps([name, wrong, mib]), flush=True)


if __name__ == '__main__':
  _main(sys.argv[1:])

"""The fused kernels become Triton's programs without any GPU."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import pytest

from trax_reformer_ext.ops.hashing import hash_vectors
from trax_reformer_ext.ops.local_attention import local_attention
from trax_reformer_ext.ops.lsh_attention import lsh_attention

LENGTH = 256
LSH = functools.partial(lsh_attention, n_buckets=8)
KINDS = {
  'ring': LSH,
  'strict': functools.partial(LSH, strictly_causal=True),
  'local': local_attention,
}


def lowered(fn, *args):
  """The text of a function's program for a GPU."""
  with _for_gpu():
    traced = jax.jit(fn).trace(*args)
    return traced.lower(lowering_platforms=('cuda',)).as_text()


def _for_gpu():
  """From JAX 0.11 on, Pallas asks which GPU it compiles for."""
  if jax.__version_info__ < (0, 11):
    return contextlib.nullcontext()
  device = jax.sharding.AbstractDevice(
    device_kind='NVIDIA H100 80GB HBM3', num_cores=132, platform='gpu'
  )
  mesh = jax.sharding.AbstractMesh((), (), abstract_device=device)
  return jax.sharding.use_abstract_mesh(mesh)


def of(*shape, dtype=jnp.bfloat16):
  return jax.ShapeDtypeStruct((1, 2, *shape), dtype)


def kernels(text):
  """Names of the kernels in a program, in order."""
  calls = text.split('custom_call @__gpu$xla.gpu.triton')[1:]
  return [call.split('name = "')[1].split('"')[0] for call in calls]


@pytest.mark.parametrize('kind', KINDS)
def test_attention_and_its_gradient_are_one_kernel_each(kind):
  attend = functools.partial(
    KINDS[kind], chunk_len=64, causal=True, implementation='fused'
  )
  if kind == 'local':
    attend = functools.partial(attend, n_chunks_before=1)
    third = of(LENGTH, 64)
  else:
    third = of(2, LENGTH, dtype=jnp.int32)

  def with_gradient(x, v, third):
    if kind == 'local':
      out, vjp = jax.vjp(attend, x, third, v)
    else:
      out, vjp = jax.vjp(lambda x, v: attend(x, v, third), x, v)
    return out, vjp(out)

  text = lowered(with_gradient, of(LENGTH, 64), of(LENGTH, 64), third)
  assert kernels(text) == [
    'chunked_attention_forward',
    'chunked_attention_backward',
  ]


def test_hashing_is_one_kernel():
  hash_fused = lambda vecs, rotations: hash_vectors(
    vecs, rotations, [8, 6], 'fused'
  )
  rotations = jax.ShapeDtypeStruct((2, 64, 4, 7), jnp.float32)
  assert kernels(lowered(hash_fused, of(LENGTH, 64), rotations)) == [
    'hash_vectors'
  ]


def test_shapes_that_hashing_does_not_support_go_without_a_kernel():
  hash_fused = lambda vecs, rotations: hash_vectors(vecs, rotations, 8, 'fused')
  rotations = jax.ShapeDtypeStruct((2, 24, 4, 4), jnp.float32)
  assert not kernels(lowered(hash_fused, of(LENGTH, 24), rotations))

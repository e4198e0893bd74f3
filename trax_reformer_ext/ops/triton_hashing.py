"""Angular hashing as one kernel, by Pallas with its Triton backend.

Rotated vectors exist for a tile of tokens at a time and are never written.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from trax_reformer_ext.ops import triton

_TILE_LEN = 64
_MAX_HALF = 128


def is_supported(vecs, factors):
  """Whether the compiled kernel can hash.

  Args:
    vecs: float [batch, heads, length, d_qk].
    factors: list of even ints.
  """
  batch, heads, _, d = vecs.shape
  return (
    triton.is_depth(d, 256)
    and max(factors) <= 2 * _MAX_HALF
    and batch * heads <= triton.MAX_SEQUENCES
    and vecs.size <= triton.MAX_ELEMENTS
  )


def hash_vectors(vecs, rotations, factors, *, interpret=False):
  """argmax([xR; -xR]) of every factor, put together.

  Args:
    vecs: float [batch, heads, length, d_qk].
    rotations: float32 [heads, d_qk, n_hashes, sum(factors) // 2].
    factors: list of even ints.
    interpret: bool, computes by JAX's operations in place of a kernel.

  Returns:
    int32 [batch, heads, n_hashes, length], in [0, product of the factors).
  """
  batch, heads, length, d = vecs.shape
  n_hashes = rotations.shape[2]
  rotations = jnp.moveaxis(rotations, 1, 2)  # [heads, n_hashes, d_qk, ...]
  starts = [sum(factors[:i]) // 2 for i in range(len(factors))]
  by_factor = [
    _pad(rotations[..., start : start + n // 2])
    for start, n in zip(starts, factors, strict=True)
  ]
  shape = batch * heads, n_hashes, length
  (buckets,) = triton.call(
    functools.partial(_program, factors, heads, length, n_hashes),
    'hash_vectors',
    (pl.cdiv(length, _TILE_LEN), batch * heads),
    [vecs.reshape(batch * heads, length, d), *by_factor],
    [jax.ShapeDtypeStruct(shape, jnp.int32)],
    num_warps=4,
    num_stages=1,
    interpret=interpret,
  )
  return buckets.reshape(batch, heads, n_hashes, length)


def _pad(rotations):
  """Pads the last axis to a power of 2 of at least 16, as products need."""
  half = rotations.shape[-1]
  width = max(16, 1 << (half - 1).bit_length())
  return jnp.pad(rotations, ((0, 0),) * 3 + ((0, width - half),))


def _program(factors, heads, length, n_hashes, vecs_ref, *refs):
  *rotations, out_ref = refs
  sequence = pl.program_id(1)
  head = jax.lax.rem(sequence, jnp.int32(heads))
  rows = pl.program_id(0) * _TILE_LEN + jnp.arange(_TILE_LEN, dtype=jnp.int32)
  # Rows past the end hash the last token again.
  rows = jnp.minimum(rows, length - 1)
  vecs = vecs_ref[sequence, rows, :].astype(jnp.float32)
  for r in range(n_hashes):
    bucket, stride = jnp.zeros((_TILE_LEN,), jnp.int32), 1
    for factor, ref in zip(factors, rotations, strict=True):
      rotated = jnp.dot(
        vecs, ref[head, r, :, :], preferred_element_type=jnp.float32
      )
      bucket += stride * _argmax_signed(rotated, factor // 2)
      stride *= factor
    out_ref[sequence, r, rows] = bucket


def _argmax_signed(x, half):
  """argmax([x; -x]) over the first half columns of x."""
  column = jax.lax.broadcasted_iota(jnp.int32, x.shape, 1)
  size = jnp.where(column < half, jnp.abs(x), -1.0)
  top = jnp.max(size, axis=1, keepdims=True)
  # Of columns of equal size the first.
  index = jnp.min(jnp.where(size == top, column, half), axis=1)
  negative = jnp.where((column == index[:, None]) & (x < 0), 1, 0)
  return index + half * jnp.max(negative, axis=1)

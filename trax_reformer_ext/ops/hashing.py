"""Angular locality-sensitive hashing (Kitaev et al. 2020, section 2)."""

import math

import jax
import jax.numpy as jnp

from trax_reformer_ext.ops import triton_hashing

# A number of buckets beyond this is factorised, as in Trax.
_MAX_UNFACTORISED = 128


def n_buckets_for_length(length, chunk_len):
  """Returns the number of buckets for a sequence, when the user gives none.

  Two buckets a chunk, so that a bucket holds half a chunk on average; more
  than 128 are factorised into two even factors (section 2, "Hashing").

  Args:
    length: int, number of tokens before any padding.
    chunk_len: int, tokens in a chunk.

  Returns:
    An even int, or a list of two even ints whose product is close to
    2 * length / chunk_len.
  """
  n_buckets = 2 * max(1, length // chunk_len)
  if n_buckets <= _MAX_UNFACTORISED:
    return n_buckets
  first = 2 ** math.ceil(math.log2(math.sqrt(n_buckets)))
  return [first, 2 * (n_buckets // (2 * first))]


def total_buckets(n_buckets):
  """Returns the number of distinct buckets: the product of the factors."""
  return math.prod(_factors(n_buckets))


def random_rotations(rng, n_heads, d_qk, n_hashes, n_buckets):
  """Draws one random rotation a head and hash round.

  Args:
    rng: JAX PRNG key.
    n_heads: int.
    d_qk: int, depth of the vectors to hash.
    n_hashes: int, rounds of hashing.
    n_buckets: even int, or list of even ints.

  Returns:
    float32 [n_heads, d_qk, n_hashes, sum(n_buckets) // 2], standard normal.
  """
  size = sum(_factors(n_buckets)) // 2
  return jax.random.normal(rng, (n_heads, d_qk, n_hashes, size), jnp.float32)


@jax.named_scope('hashing')
def hash_vectors(vecs, rotations, n_buckets, implementation='xla'):
  """Hashes vectors into buckets: h(x) = argmax([xR; -xR]) (section 2).

  A list of factors hashes once for each with its own slice of the rotation:
  h(x) = h_1(x) + n_1 * h_2(x) + ... No gradient flows through the buckets.

  Args:
    vecs: float [batch, heads, length, d_qk].
    rotations: float32 [heads, d_qk, n_hashes, sum(n_buckets) // 2].
    n_buckets: even int, or list of even ints.
    implementation: 'xla'; 'fused', one kernel for GPUs where it supports the
      shapes; or 'interpreted', the kernel's program by JAX's operations, for
      tests.

  Returns:
    int32 [batch, heads, n_hashes, length], in [0, total_buckets(n_buckets)).
  """
  vecs = jax.lax.stop_gradient(vecs)
  interpret = implementation == 'interpreted'
  factors = _factors(n_buckets)
  if interpret or (
    implementation == 'fused' and triton_hashing.is_supported(vecs, factors)
  ):
    return triton_hashing.hash_vectors(
      vecs, rotations, factors, interpret=interpret
    )
  vecs = vecs.astype(jnp.float32)
  n_heads, d_qk, n_hashes, size = rotations.shape
  # One 2-D product a head: [length, d_qk] x [d_qk, n_hashes * size].
  rotated = jnp.matmul(vecs, rotations.reshape(n_heads, d_qk, n_hashes * size))
  rotated = rotated.reshape(rotated.shape[:-1] + (n_hashes, size))
  buckets, start, stride = 0, 0, 1
  for factor in factors:
    half = factor // 2
    buckets += stride * _argmax_signed(rotated[..., start : start + half])
    start += half
    stride *= factor
  return jnp.swapaxes(buckets, -1, -2)


def _argmax_signed(x):
  """argmax([x; -x]) on the last axis, without forming the concatenation."""
  index = jnp.argmax(jnp.abs(x), axis=-1, keepdims=True).astype(jnp.int32)
  value = jnp.take_along_axis(x, index, axis=-1)
  return jnp.where(value >= 0, index, index + x.shape[-1])[..., 0]


def _factors(n_buckets):
  return [n_buckets] if isinstance(n_buckets, int) else list(n_buckets)

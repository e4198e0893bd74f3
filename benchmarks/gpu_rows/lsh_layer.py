"""An LSH self-attention layer out of this package's operations, for a GPU.

The same computation as LSHSelfAttention's (d_model 512, 8 heads of 64, causal,
chunks of 64), from trax_reformer_ext.ops alone: a GPU machine may lack Trax.
"""

import jax
import jax.numpy as jnp

from trax_reformer_ext.ops import hashing
from trax_reformer_ext.ops.linear import linear
from trax_reformer_ext.ops.lsh_attention import lsh_attention

D_MODEL, N_HEADS, D_HEAD, CHUNK_LEN = 512, 8, 64, 64


def make_inputs(length, dtype, batch=1, n_projections=2):
  """(x [batch, length, d_model], projections to heads, projection back)."""
  rngs = jax.random.split(jax.random.PRNGKey(0), 2 + n_projections)
  normal = lambda rng, *shape: jax.random.normal(rng, shape).astype(dtype)
  x = normal(rngs[0], batch, length, D_MODEL)
  weights = [
    normal(rng, D_MODEL, N_HEADS * D_HEAD) * D_MODEL**-0.5 for rng in rngs[1:]
  ]
  return x, weights[:-1], weights[-1]


def lsh(x, inward, outward, *, n_hashes, implementation, **options):
  """LSH self-attention of x [batch, length, d_model]."""
  length = x.shape[1]
  n_buckets = hashing.n_buckets_for_length(length, CHUNK_LEN)
  rotations = hashing.random_rotations(
    jax.random.PRNGKey(1), N_HEADS, D_HEAD, n_hashes, n_buckets
  )
  q, v = to_heads(linear(x, jnp.concatenate(inward, axis=1)), 2)
  buckets = hashing.hash_vectors(q, rotations, n_buckets, implementation)
  out = lsh_attention(
    q,
    v,
    buckets,
    n_buckets=hashing.total_buckets(n_buckets),
    chunk_len=CHUNK_LEN,
    causal=True,
    implementation=implementation,
    **options,
  )
  out = jnp.swapaxes(out, 1, 2).reshape(x.shape[:2] + (-1,))
  return linear(out, outward)


def exact(x, inward, outward, *, implementation):
  """Exact causal attention with separate keys, by jax.nn."""
  y = linear(x, jnp.concatenate(inward, axis=1))
  heads = x.shape[:2] + (N_HEADS, D_HEAD)
  q, k, v = (y.reshape(heads) for y in jnp.split(y, 3, axis=-1))
  out = jax.nn.dot_product_attention(
    q, k, v, is_causal=True, implementation=implementation
  )
  return linear(out.reshape(x.shape[:2] + (-1,)), outward)


def to_heads(y, n):
  """[batch, length, n * heads * d] -> n of [batch, heads, length, d]."""
  y = y.reshape(y.shape[:2] + (n, N_HEADS, D_HEAD))
  return [jnp.swapaxes(y[:, :, i], 1, 2) for i in range(n)]


def flops(length, backward, n_hashes=None):
  """Floating-point operations of products, of LSH or (None) exact attention.

  Keys are those that a query is compared with: two chunks in each round, half
  of the sequence in exact attention. The backward pass has twice the products
  of projections, and two and a half times those of attention.
  """
  n_projections = 3 if n_hashes is None else 2
  keys = length / 2 if n_hashes is None else 2 * CHUNK_LEN * n_hashes
  width = N_HEADS * D_HEAD
  projections = 2 * length * D_MODEL * width * (n_projections + 1)
  attention = 4 * length * keys * width
  return projections * (3 if backward else 1) + attention * (
    3.5 if backward else 1
  )

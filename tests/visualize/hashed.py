"""What an LSH layer makes of random vectors."""

import jax
import numpy as np
from trax import shapes

from trax_reformer_ext import LSHSelfAttention

LENGTH, D_MODEL, N_HEADS, N_HASHES = 22, 16, 2, 4


def lsh_layer(**options):
  """(an initialised layer in mode 'eval', its input)."""
  options = dict(
    dict(
      n_heads=N_HEADS,
      d_qk=8,
      d_v=4,
      chunk_len=4,
      n_hashes=N_HASHES,
      n_buckets=6,
      causal=True,
      mode='eval',
    ),
    **options,
  )
  layer = LSHSelfAttention(**options)
  x = np.random.default_rng(0).normal(size=(2, LENGTH, D_MODEL))
  x = x.astype(np.float32)
  layer.init(shapes.signature(x), rng=jax.random.PRNGKey(0))
  return layer, x


def hashed(**options):
  """The layer's Hashed of its input."""
  layer, x = lsh_layer(**options)
  return layer.hashed(x)

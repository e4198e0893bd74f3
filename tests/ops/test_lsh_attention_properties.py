import importlib
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import reference
from trax_reformer_ext.ops.lsh_attention import lsh_attention

flags = st.booleans()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
  batch=st.integers(1, 2),
  heads=st.integers(1, 3),
  rounds=st.integers(1, 4),
  length=st.integers(1, 40),
  chunk_len=st.sampled_from([1, 2, 3, 8, 64]),
  look=st.sampled_from([(1, 0), (0, 0), (0, 1), (2, 1)]),
  n_buckets=st.sampled_from([1, 2, 7, 50]),
  causal=flags,
  masked=flags,
  mode=st.tuples(flags, flags, flags, flags),
  dense=flags,
  seed=st.integers(0, 99),
)
def test_rows_sum_to_one_and_nothing_is_nan(
  batch,
  heads,
  rounds,
  length,
  chunk_len,
  look,
  n_buckets,
  causal,
  masked,
  mode,
  dense,
  seed,
):
  across, duplicates, strict, wrap = mode
  rng = np.random.default_rng(seed)
  q = 5 * rng.normal(size=(batch, heads, length, 4)).astype(np.float32)
  buckets = rng.integers(0, n_buckets, (batch, heads, rounds, length))
  mask = rng.random((batch, length)) < 0.6 if masked else None
  options = dict(
    n_buckets=n_buckets,
    chunk_len=chunk_len,
    n_chunks_before=look[0],
    n_chunks_after=look[1],
    causal=causal,
    attend_across_buckets=across,
    allow_duplicate_attention=duplicates,
    strictly_causal=strict,
    wrap=wrap,
  )

  @jax.jit
  def run(q, v, d_out):
    out, vjp = jax.vjp(
      lambda q, v: lsh_attention(
        q, v, jnp.asarray(buckets, jnp.int32), mask, **options
      ),
      q,
      v,
    )
    return out, vjp(d_out)

  # With the identity as values, the output is the matrix of the weights.
  v = np.broadcast_to(
    np.eye(length, dtype=np.float32), (batch, heads, length, length)
  )
  module = importlib.import_module('trax_reformer_ext.ops.lsh_attention')
  with mock.patch.object(module, '_DENSE_UP_TO', 10**9 if dense else 0):
    weights, gradients = run(q, v, np.ones_like(v))
  assert weights.shape == v.shape
  for g, x in zip(gradients, (q, v), strict=True):
    assert g.shape == x.shape and np.isfinite(g).all()
  weights = np.asarray(weights)
  assert np.isfinite(weights).all() and weights.min() >= 0
  # Nothing flows from the future or the padding, nor from outside the look.
  if causal or strict:
    assert not np.triu(weights, 1).any()
  counts, real = reference.batched_lsh_counts(buckets, mask, **options)
  some = counts.any(axis=-1)
  alone = real & ~some
  np.testing.assert_allclose(weights.sum(-1), some | alone, atol=1e-5)
  seen = (counts > 0) | (alone[..., None] & np.eye(length, dtype=bool))
  assert not weights[~seen].any()

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import reference
from trax_reformer_ext.ops import chunked_attention
from trax_reformer_ext.ops.local_attention import local_attention

flags = st.booleans()


def make_counts(length, real, shared_qk, **options):
  counts = [
    reference.local_counts(length, r, exclude_self=shared_qk, **options)
    for r in real
  ]
  return np.stack(counts)[:, None]


run = functools.partial(reference.run_attention, local_attention)


XLA_WAYS = ['chunks', 'windows']


@pytest.fixture(autouse=True, params=XLA_WAYS)
def every_way(request, monkeypatch):
  """Runs every test with all chunks at once, and few by few.

  Some run through the fused kernel's program as well.
  """
  if request.param == 'windows':
    room = 2 * 4 * 4 * 8 * 4
    monkeypatch.setattr(chunked_attention, 'scores_bytes', lambda: room)
  if request.param == 'interpreted':
    monkeypatch.setitem(
      local_attention.__kwdefaults__, 'implementation', 'interpreted'
    )


# causal, masked, shared_qk, wrap, look, length
CASES = [
  (True, False, False, True, (1, 0), 24),
  (True, True, True, True, (1, 0), 21),
  (False, False, False, True, (1, 1), 24),
  (False, True, False, False, (2, 1), 21),
  (False, False, True, False, (0, 1), 22),
  (False, True, True, True, (1, 1), 24),
  (True, False, False, False, (0, 0), 3),
]


@pytest.mark.parametrize(
  'every_way,causal,masked,shared_qk,wrap,look,length',
  [(way, *case) for way in XLA_WAYS for case in CASES]
  + [('interpreted', *case) for case in CASES[1:5]],
  indirect=['every_way'],
)
def test_equals_the_reference(causal, masked, shared_qk, wrap, look, length):
  rng = np.random.default_rng(length)
  normal = lambda depth: jnp.asarray(
    rng.normal(size=(2, 2, length, depth)), jnp.float32
  )
  q, k, v, d_out = normal(6), normal(6), normal(5), normal(5)
  k = None if shared_qk else k
  mask = rng.random((2, length)) < 0.6 if masked else None
  options = dict(
    chunk_len=4,
    n_chunks_before=look[0],
    n_chunks_after=look[1],
    causal=causal,
    wrap=wrap,
  )
  actual = run(q, k, v, mask, d_out, **options)
  real = np.ones((2, length), bool) if mask is None else mask
  counts = make_counts(length, real, shared_qk, **options)
  expected = reference.attention_and_gradients(
    q, k, v, counts, real[:, None], d_out
  )
  for a, e in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    reference.assert_close(a, e)


# Not through the kernel: every example is a program that takes long to compile.
@settings(max_examples=12, deadline=None, derandomize=True)
@given(
  heads=st.integers(1, 3),
  length=st.integers(1, 30),
  chunk_len=st.sampled_from([1, 3, 8, 64]),
  look=st.sampled_from([(1, 0), (0, 0), (0, 1), (2, 1)]),
  causal=flags,
  masked=flags,
  shared_qk=flags,
  wrap=flags,
  seed=st.integers(0, 99),
)
def test_rows_sum_to_one_and_nothing_is_nan(
  heads, length, chunk_len, look, causal, masked, shared_qk, wrap, seed
):
  rng = np.random.default_rng(seed)
  shape = (2, heads, length, 4)
  q = 5 * rng.normal(size=shape).astype('float32')
  k = None if shared_qk else rng.normal(size=shape).astype('float32')
  mask = rng.random((2, length)) < 0.6 if masked else None
  options = dict(
    chunk_len=chunk_len,
    n_chunks_before=look[0],
    n_chunks_after=look[1],
    causal=causal,
    wrap=wrap,
  )
  # With the identity as values, the output is the matrix of the weights.
  eye = np.eye(length, dtype=np.float32)
  v = np.broadcast_to(eye, (2, heads, length, length))
  weights, gradients = run(q, k, v, mask, np.ones_like(v), **options)
  weights = np.asarray(weights)
  assert weights.shape == v.shape
  assert all(np.isfinite(g).all() for g in gradients)
  assert np.isfinite(weights).all() and weights.min() >= 0
  real = np.ones((2, length), bool) if mask is None else mask
  counts = make_counts(length, real, shared_qk, **options)
  alone = shared_qk & real[:, None] & ~counts.any(axis=-1)
  some = np.broadcast_to(counts.any(axis=-1) | alone, weights.shape[:-1])
  np.testing.assert_allclose(weights.sum(axis=-1), some, atol=1e-5)
  seen = (counts > 0) | (alone[..., None] & (eye > 0))
  assert not weights[np.broadcast_to(~seen, weights.shape)].any()

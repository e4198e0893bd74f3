"""A cached step gives what the whole sequence gives at its last position."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trax_reformer_ext.ops import cached_attention as cached
from trax_reformer_ext.ops.full_attention import full_attention
from trax_reformer_ext.ops.local_attention import local_attention
from trax_reformer_ext.ops.lsh_attention import lsh_attention

LENGTH, N_BUCKETS, ROUNDS = 26, 4, 3


def make_case(seed, shared_qk):
  rng = np.random.default_rng(seed)
  normal = lambda depth: jnp.asarray(
    rng.normal(size=(2, 2, LENGTH, depth)), jnp.float32
  )
  buckets = rng.integers(N_BUCKETS, size=(2, 2, ROUNDS, LENGTH))
  k = None if shared_qk else normal(6)
  return normal(6), k, normal(5), jnp.asarray(buckets, jnp.uint8)


def continue_from(n_prompt, start, step, arrays):
  """Outputs after the prompt, one cached step after another."""
  at = lambda part: (
    [None if x is None else x[..., part, :] for x in arrays[:-1]]
    + [arrays[-1][..., part]]
  )
  cache = start(*at(slice(0, n_prompt)))
  step = jax.jit(step)
  outs = []
  for i in range(n_prompt, LENGTH):
    out, cache = step(*at(slice(i, i + 1)), cache)
    outs.append(out)
  assert int(cache.length) == LENGTH
  return jnp.concatenate(outs, axis=2)


@pytest.mark.parametrize('shared_qk', [False, True])
@pytest.mark.parametrize('n_prompt', [1, 2, 7, 25])
def test_full(shared_qk, n_prompt):
  q, k, v, buckets = make_case(0, shared_qk)
  expected = full_attention(q, k, v, causal=True)[:, :, n_prompt:]
  actual = continue_from(
    n_prompt,
    lambda q, k, v, _: cached.start_full(q, k, v, LENGTH + 3),
    lambda q, k, v, _, cache: cached.step_full(q, k, v, cache),
    (q, k, v, buckets),
  )
  np.testing.assert_allclose(actual, expected, atol=2e-6)


@pytest.mark.parametrize('shared_qk', [False, True])
@pytest.mark.parametrize('n_before', [0, 1, 2])
@pytest.mark.parametrize('n_prompt', [1, 4, 5, 12, 25])
def test_local_beyond_the_end_of_the_ring(shared_qk, n_before, n_prompt):
  q, k, v, buckets = make_case(1, shared_qk)
  look = dict(chunk_len=4, n_chunks_before=n_before)
  expected = local_attention(q, k, v, causal=True, wrap=False, **look)
  actual = continue_from(
    n_prompt,
    lambda q, k, v, _: cached.start_local(q, k, v, **look),
    lambda q, k, v, _, cache: cached.step_local(q, k, v, cache, **look),
    (q, k, v, buckets),
  )
  np.testing.assert_allclose(actual, expected[:, :, n_prompt:], atol=2e-6)


@settings(max_examples=12, deadline=None)
@given(
  seed=st.integers(0, 99),
  n_prompt=st.integers(1, LENGTH - 1),
  n_before=st.integers(1, 2),
  chunk_len=st.integers(1, 5),
)
def test_lsh_equals_the_strictly_causal_pass(
  seed, n_prompt, n_before, chunk_len
):
  q, _, v, buckets = make_case(seed, True)
  expected = lsh_attention(
    q,
    v,
    buckets,
    n_buckets=N_BUCKETS,
    chunk_len=chunk_len,
    n_chunks_before=n_before,
    strictly_causal=True,
  )
  start = functools.partial(
    cached.start_lsh,
    n_buckets=N_BUCKETS,
    window=n_before * chunk_len,
    size=LENGTH,
  )
  actual = continue_from(n_prompt, start, cached.step_lsh, (q, v, buckets))
  np.testing.assert_allclose(actual, expected[:, :, n_prompt:], atol=2e-6)


def test_beyond_the_size_of_the_cache_the_result_is_nan():
  q, k, v, buckets = make_case(2, False)
  one = lambda x: x[..., :1, :]
  cache = cached.start_full(q, k, v, LENGTH)
  out, _ = cached.step_full(one(q), one(k), one(v), cache)
  assert np.isnan(out).all()
  cache = cached.start_lsh(
    q, v, buckets, n_buckets=N_BUCKETS, window=4, size=LENGTH
  )
  out, _ = cached.step_lsh(one(q), one(v), buckets[..., :1], cache)
  assert np.isnan(out).all()

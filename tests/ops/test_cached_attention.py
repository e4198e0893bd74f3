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


def assert_goes_on(n_prompt, start, step, arrays, expected):
  """Compares one cached step after another with the whole sequence's.

  The second example has a longer prompt than the first; the first's is padded
  with the tokens that come next, which must not be seen.
  """
  longer = min(n_prompt + 3, LENGTH - 1)
  lengths = jnp.asarray([n_prompt, longer], jnp.int32)

  def at(part):
    *vectors, buckets = arrays
    take = lambda x: None if x is None else x[..., part, :]
    return [*map(take, vectors), buckets[..., part]]

  cache = start(*at(slice(0, longer)), lengths)
  step = jax.jit(step)
  for i in range(LENGTH - longer):
    rows = [at(slice(n + i, n + i + 1)) for n in (n_prompt, longer)]
    token = [
      None if x is None else jnp.stack([x[0], y[1]])
      for x, y in zip(*rows, strict=True)
    ]
    out, cache = step(*token, cache)
    for example, n in enumerate((n_prompt, longer)):
      np.testing.assert_allclose(
        out[example], expected[example, :, n + i : n + i + 1], atol=2e-6
      )
  assert cache.lengths.tolist() == [LENGTH - longer + n_prompt, LENGTH]


@pytest.mark.parametrize('shared_qk', [False, True])
@pytest.mark.parametrize('n_prompt', [1, 2, 7, 25])
def test_full(shared_qk, n_prompt):
  q, k, v, buckets = make_case(0, shared_qk)
  assert_goes_on(
    n_prompt,
    lambda q, k, v, _, lengths: cached.start_full(
      q, k, v, lengths, size=LENGTH + 3
    ),
    lambda q, k, v, _, cache: cached.step_full(q, k, v, cache),
    (q, k, v, buckets),
    full_attention(q, k, v, causal=True),
  )


@pytest.mark.parametrize('shared_qk', [False, True])
@pytest.mark.parametrize('n_before', [0, 1, 2])
@pytest.mark.parametrize('n_prompt', [1, 4, 5, 12, 25])
def test_local_beyond_the_end_of_the_ring(shared_qk, n_before, n_prompt):
  q, k, v, buckets = make_case(1, shared_qk)
  look = dict(chunk_len=4, n_chunks_before=n_before)
  assert_goes_on(
    n_prompt,
    lambda q, k, v, _, lengths: cached.start_local(q, k, v, lengths, **look),
    lambda q, k, v, _, cache: cached.step_local(q, k, v, cache, **look),
    (q, k, v, buckets),
    local_attention(q, k, v, causal=True, wrap=False, **look),
  )


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
  assert_goes_on(n_prompt, start, cached.step_lsh, (q, v, buckets), expected)


def test_beyond_the_size_of_the_cache_the_result_is_nan():
  q, k, v, buckets = make_case(2, False)
  one = lambda x: x[..., :1, :]
  lengths = jnp.full(2, LENGTH, jnp.int32)
  cache = cached.start_full(q, k, v, lengths, size=LENGTH)
  out, _ = cached.step_full(one(q), one(k), one(v), cache)
  assert np.isnan(out).all()
  cache = cached.start_lsh(
    q, v, buckets, lengths, n_buckets=N_BUCKETS, window=4, size=LENGTH
  )
  out, _ = cached.step_lsh(one(q), one(v), buckets[..., :1], cache)
  assert np.isnan(out).all()

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import reference
from trax_reformer_ext.ops.full_attention import full_attention


def make_case(seed, length, masked=False, shared_qk=False):
  rng = np.random.default_rng(seed)
  normal = lambda depth: jnp.asarray(
    rng.normal(size=(2, 2, length, depth)), jnp.float32
  )
  k = None if shared_qk else normal(6)
  mask = rng.random((2, length)) < 0.6 if masked else None
  return normal(6), k, normal(5), mask, normal(5)


run = functools.partial(reference.run_attention, full_attention)


@pytest.mark.parametrize('block_len', [None, 4])
@pytest.mark.parametrize(
  'causal,masked,shared_qk',
  [
    (False, False, False),
    (True, True, False),
    (True, False, True),
    (False, True, True),
  ],
)
def test_equals_the_reference(causal, masked, shared_qk, block_len):
  q, k, v, mask, d_out = make_case(0, 11, masked, shared_qk)
  actual = run(q, k, v, mask, d_out, causal=causal, block_len=block_len)
  real = np.ones((2, 11), bool) if mask is None else mask
  counts = np.stack(
    [
      reference.full_counts(11, r, causal=causal, exclude_self=shared_qk)
      for r in real
    ]
  )[:, None]
  expected = reference.attention_and_gradients(
    q, k, v, counts, real[:, None], d_out
  )
  for a, e in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    reference.assert_close(a, e)


def test_fully_masked_rows_are_zero_with_zero_gradients():
  q, k, v, _, d_out = make_case(1, 8)
  mask = np.zeros((2, 8), bool)
  mask[1] = True
  for x in jax.tree.leaves(run(q, k, v, mask, d_out)):
    assert not np.asarray(x[0]).any() and np.asarray(x[1]).any()


def test_blocks_keep_no_matrix_of_length_times_length():
  length = 512
  x = jax.ShapeDtypeStruct((1, 1, length, 4), jnp.float32)

  def memory(block_len):
    attend = functools.partial(full_attention, causal=True, block_len=block_len)
    gradient = jax.grad(lambda *xs: attend(*xs).sum(), argnums=(0, 1, 2))
    compiled = jax.jit(gradient).lower(x, x, x).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  matrix = 4 * length**2
  assert memory(16) < matrix / 4
  assert memory(length) > matrix


def test_dropout_keeps_the_expectation():
  q, k, v, *_ = make_case(2, 8)
  attend = lambda rng: full_attention(
    q, k, v, block_len=4, dropout=0.4, dropout_rng=rng
  )
  rngs = jax.random.split(jax.random.PRNGKey(0), 2000)
  samples = np.asarray(jax.jit(jax.vmap(attend))(rngs))
  plain = full_attention(q, k, v)
  assert np.abs(samples[0] - samples[1]).max() > 0.05
  error = np.abs(samples.mean(axis=0) - plain)
  assert (error < 6 * samples.std(axis=0) / 2000**0.5 + 1e-5).all()


def test_nan_in_a_query_is_seen():
  q, k, v, *_ = make_case(2, 8)
  out = np.asarray(full_attention(q.at[0, 0, 3, 1].set(jnp.nan), k, v))
  assert np.isnan(out[0, 0, 3]).all()
  assert np.isfinite(np.delete(out[0, 0], 3, axis=0)).all()

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trax_reformer_ext.ops.sorting import invert_permutation, sort_by_bucket


def _check(buckets, n_buckets):
  length = buckets.shape[-1]
  order, rank = jax.jit(sort_by_bucket, static_argnums=1)(buckets, n_buckets)
  order, rank = np.asarray(order), np.asarray(rank)
  assert order.dtype == rank.dtype == np.int32
  rows = buckets.reshape(-1, length)
  for row, o, r in zip(
    rows, order.reshape(-1, length), rank.reshape(-1, length), strict=True
  ):
    np.testing.assert_array_equal(o, np.lexsort((np.arange(length), row)))
    np.testing.assert_array_equal(o[r], np.arange(length))


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int32])
def test_is_stable_and_rank_is_the_inverse(dtype):
  rng = np.random.default_rng(0)
  _check(rng.integers(0, 5, (2, 3, 4, 37)).astype(dtype), 5)


@pytest.mark.parametrize('n_buckets', [4096, 4097, 2**20])
def test_keys_cannot_overflow(n_buckets):
  # 2^20 tokens x 4096 buckets are 2^32 keys: beyond int32, and from 4097
  # buckets beyond uint32 too.
  length = 2**20
  assert length * n_buckets > 2**31
  rng = np.random.default_rng(0)
  buckets = rng.integers(0, n_buckets, (1, length)).astype(np.int32)
  buckets[0, ::1000] = n_buckets - 1
  buckets[0, 1::1000] = 0
  _check(buckets, n_buckets)


def test_limits_of_the_packed_keys():
  # Both ways to sort, at the bound between them and at its neighbours.
  length = 2**10
  rng = np.random.default_rng(0)
  for n_buckets in (2**22 - 1, 2**22, 2**22 + 1, 2**31 - 1):
    low = rng.integers(0, 3, (1, length))
    buckets = np.where(low == 0, n_buckets - 1, low).astype(np.int32)
    _check(buckets, n_buckets)


def test_one_token_and_one_bucket():
  _check(np.zeros((2, 1), np.int32), 1)
  _check(np.zeros((2, 7), np.int32), 1)


@settings(max_examples=25, deadline=None)
@given(
  rows=st.integers(1, 3),
  length=st.sampled_from([1, 2, 3, 8, 17]),
  n_buckets=st.sampled_from([1, 2, 5, 2**28, 2**31 - 1]),
  seed=st.integers(0, 2**16),
)
def test_any_shape(rows, length, n_buckets, seed):
  rng = np.random.default_rng(seed)
  buckets = rng.integers(0, n_buckets, (rows, length)).astype(np.int32)
  _check(buckets, n_buckets)


def test_invert_permutation():
  rng = np.random.default_rng(0)
  order = np.stack([rng.permutation(9) for _ in range(6)]).reshape(2, 3, 9)
  inverse = np.asarray(invert_permutation(jax.numpy.asarray(order)))
  np.testing.assert_array_equal(
    np.take_along_axis(order, inverse, axis=-1),
    np.broadcast_to(np.arange(9), order.shape),
  )

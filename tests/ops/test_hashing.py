import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trax.layers.research import efficient_attention

from trax_reformer_ext.ops import hashing


@pytest.mark.parametrize('n_buckets', [2, 16, [4, 6], [2, 4, 8], (8, 10)])
def test_values_are_in_range_and_spread(n_buckets):
  total = int(np.prod(n_buckets))
  assert hashing.total_buckets(n_buckets) == total
  rotations = hashing.random_rotations(
    jax.random.PRNGKey(0), 3, 8, 5, n_buckets
  )
  assert rotations.shape == (3, 8, 5, int(np.sum(n_buckets)) // 2)
  vecs = jax.random.normal(jax.random.PRNGKey(1), (2, 3, 1000, 8))
  buckets = np.asarray(hashing.hash_vectors(vecs, rotations, n_buckets))
  assert buckets.dtype == np.int32
  assert buckets.shape == (2, 3, 5, 1000)
  assert buckets.min() >= 0 and buckets.max() < total
  # Every bucket is met somewhere, and rounds, heads and examples differ.
  assert len(np.unique(buckets)) == total
  if total > 2:
    assert (buckets[:, :, 0] != buckets[:, :, 1]).any(axis=-1).all()


@pytest.mark.parametrize('n_buckets', [2, 8, [4, 6], [2, 4, 8], [8]])
def test_equals_trax_for_the_same_rotations(n_buckets):
  n_heads, d_qk, n_hashes, length = 2, 16, 3, 200
  vecs = jax.random.normal(jax.random.PRNGKey(1), (1, n_heads, length, d_qk))
  keys = jax.random.split(jax.random.PRNGKey(2), n_heads)
  expected, rotations = [], []
  for head, key in enumerate(keys):
    buckets, total = efficient_attention.hash_vecs(
      vecs[0, head], n_buckets, n_hashes, key
    )
    expected.append(buckets)
    shape = (d_qk, n_hashes, int(np.sum(n_buckets)) // 2)
    rotations.append(jax.random.normal(key, shape))  # as hash_vecs draws it
  assert hashing.total_buckets(n_buckets) == total
  rotations = np.stack(rotations)
  actual = hashing.hash_vectors(vecs, rotations, n_buckets)
  # Rounding may decide only where the two best sides are all but equal.
  clear = _clear(np.asarray(vecs[0]), rotations, n_buckets)
  assert clear.mean() > 0.99
  np.testing.assert_array_equal(
    np.asarray(actual[0])[clear], np.stack(expected)[clear]
  )


def _clear(vecs, rotations, n_buckets):
  """bool [heads, rounds, length]: the best side wins by a margin."""
  rotated = np.einsum('htd,hdrb->hrtb', vecs, rotations, dtype=np.float64)
  clear, start = True, 0
  for factor in np.atleast_1d(n_buckets):
    part = rotated[..., start : start + factor // 2]
    start += factor // 2
    best = np.sort(np.concatenate([part, -part], axis=-1), axis=-1)
    clear &= best[..., -1] - best[..., -2] > 1e-4
  return clear


@pytest.mark.parametrize(
  'n_buckets,length,dtype',
  [
    (8, 128, jnp.float32),
    (64, 1, jnp.float32),
    (6, 100, jnp.float32),  # neither a power of 2 nor whole tiles
    ([4, 6], 130, jnp.float32),
    ([2, 40, 10], 70, jnp.bfloat16),
  ],
)
def test_the_kernel_hashes_as_xla(n_buckets, length, dtype):
  rng = np.random.default_rng(length)
  vecs = rng.normal(size=(2, 3, length, 16)).astype(dtype)
  rotations = np.asarray(
    hashing.random_rotations(jax.random.PRNGKey(0), 3, 16, 2, n_buckets)
  )
  expected = hashing.hash_vectors(vecs, rotations, n_buckets)
  found = hashing.hash_vectors(vecs, rotations, n_buckets, 'interpreted')
  assert found.dtype == expected.dtype and found.shape == expected.shape
  for example, f, e in zip(vecs, found, expected, strict=True):
    clear = _clear(example.astype(np.float64), rotations, n_buckets)
    assert clear.mean() > 0.98
    np.testing.assert_array_equal(f[clear], e[clear])


@pytest.mark.parametrize('implementation', ['xla', 'interpreted'])
def test_ties_go_to_the_first_bucket(implementation):
  """So that zero vectors, as of padding, all share a bucket."""
  rotations = np.zeros((1, 16, 1, 5 + 2), np.float32)
  rotations[0, 0, 0, :5] = [1, 3, -3, 3, 2]
  rotations[0, 1, 0, 5:] = [-1, 1]
  vecs = np.zeros((1, 1, 4, 16), np.float32)
  vecs[0, 0, 1, 0] = 1  # the second side of [10, 4]; zero for the second factor
  vecs[0, 0, 2, 0] = -1
  vecs[0, 0, 3, 1] = 1
  found = hashing.hash_vectors(vecs, rotations, [10, 4], implementation)
  np.testing.assert_array_equal(found[0, 0, 0], [0, 1, 5 + 1, 10 * 2])


def test_number_of_buckets_is_the_one_that_trax_chooses(monkeypatch):
  asked = []

  def record(vecs, n_buckets, n_hashes, rng):
    asked.append(n_buckets)
    return np.zeros((n_hashes, vecs.shape[0]), np.int32), 1

  monkeypatch.setattr(efficient_attention, 'hash_vecs', record)
  for chunk_len in (1, 4, 64, 128):
    layer = efficient_attention.LSHSelfAttention(chunk_len=chunk_len)
    for length in (1, 5, 64, 256, 1000, 4096, 5000, 16384, 2**16 + 128):
      layer.hash_vectors(np.zeros((length, 1), np.float32), None)
      assert hashing.n_buckets_for_length(length, chunk_len) == asked[-1]
  assert any(isinstance(n, list) for n in asked)
  assert any(isinstance(n, int) for n in asked)


def test_no_gradient_flows_through_buckets():
  rotations = hashing.random_rotations(jax.random.PRNGKey(0), 1, 4, 2, 6)
  vecs = jax.random.normal(jax.random.PRNGKey(1), (1, 1, 10, 4))
  of_buckets = lambda vecs: (
    hashing.hash_vectors(vecs, rotations, 6).astype(np.float32).sum()
  )
  np.testing.assert_array_equal(jax.grad(of_buckets)(vecs), 0)


@pytest.mark.parametrize(
  'shape,n_buckets,is_kernel',
  [
    ((1, 8, 4096, 64), 64, True),
    ((1, 8, 4096, 48), 64, False),  # no power of 2
    ((1, 8, 4096, 64), 512, False),  # too wide for the registers
    ((64, 8, 65536, 64), 64, False),  # 2^31 elements
    ((8192, 8, 64, 64), 64, False),  # more sequences than CUDA's grid has
  ],
)
def test_the_kernel_hashes_what_it_can_index(shape, n_buckets, is_kernel):
  vecs = jax.ShapeDtypeStruct(shape, jnp.bfloat16)
  rotations = jax.ShapeDtypeStruct(
    (shape[1], shape[3], 1, n_buckets // 2), jnp.float32
  )
  run = lambda *xs: hashing.hash_vectors(*xs, n_buckets, 'fused')
  jaxpr = jax.make_jaxpr(run)(vecs, rotations)
  assert ('pallas_call' in str(jaxpr)) == is_kernel

"""The attention layers beside Trax's, and LSH beside the float64 reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trax import layers as tl

from tests import reference, trax_parity
from trax_reformer_ext import LSHSelfAttention, SelfAttention

N_HEADS, D_QK, D_V, D_MODEL, CHUNK, N_BUCKETS = 2, 6, 4, 8, 4, 6
SIZES = dict(n_heads=N_HEADS, d_qk=D_QK, d_v=D_V, mode='eval')


def make_case(seed, length, masked, batch=2):
  """Inputs, mask with two real tokens at the start, gradient of the output."""
  rng = np.random.default_rng(seed)
  normal = lambda: rng.normal(size=(batch, length, D_MODEL)).astype('float32')
  mask = None
  if masked:
    mask = rng.random((batch, length)) < 0.7
    mask[:, :2] = True
  return normal(), mask, normal()


def make_weights(seed, share_qk=True):
  rng = np.random.default_rng(seed)
  depths = [D_QK] * (1 if share_qk else 2) + [D_V]
  shapes = [(N_HEADS, D_MODEL, depth) for depth in depths]
  shapes.append((N_HEADS, D_V, D_MODEL))
  return tuple(0.5 * rng.normal(size=s).astype('float32') for s in shapes)


def run(layer, weights, x, mask, d_out):
  """Output, d_x and d_weights of one of our layers."""

  @jax.jit
  def both(x, weights, d_out):
    call = lambda x, weights: layer.pure_fn(
      x if mask is None else (x, mask), weights, (), jax.random.PRNGKey(0)
    )[0]
    out, vjp = jax.vjp(call, x, weights)
    return out, *vjp(d_out)

  return both(x, weights, d_out)


def check_parity(ours, of_trax, case, weights, counts, **buckets):
  """Compares where a token sees another; padding sees nothing of interest."""
  x, mask, d_out = case
  compared = counts.any(axis=-1).all(axis=1)
  if mask is not None:
    compared &= mask
  assert compared.mean() > 0.4
  d_out = d_out * compared[..., None]
  actual = run(ours, weights, x, mask, d_out)
  expected = trax_parity.run_attention(
    of_trax, weights, x, mask, d_out, **buckets
  )
  reference.assert_close(actual[0][compared], expected[0][compared], 1e-5)
  for a, e in zip(
    jax.tree.leaves(actual[1:]), jax.tree.leaves(expected[1:]), strict=True
  ):
    assert np.abs(e).max() > 0.01
    reference.assert_close(a, e, 1e-5)


# causal, masked, rounds, look
LSH = [
  (True, False, 1, (1, 0)),
  (False, False, 2, (1, 1)),
  (True, True, 4, (1, 0)),
  (False, True, 2, (1, 0)),
  (True, False, 8, (1, 1)),
]


@pytest.mark.parametrize('causal,masked,rounds,look', LSH)
def test_lsh_equals_trax_for_equal_buckets(causal, masked, rounds, look):
  case = make_case(rounds, 24, masked)
  rng = np.random.default_rng(0)
  buckets = rng.integers(0, N_BUCKETS, (2, N_HEADS, rounds, 24), np.int32)
  options = dict(
    chunk_len=CHUNK,
    n_chunks_before=look[0],
    n_chunks_after=look[1],
    causal=causal,
  )
  layer = dict(
    SIZES, **options, masked=masked, n_hashes=rounds, n_buckets=N_BUCKETS
  )
  counts, _ = reference.batched_lsh_counts(
    buckets, case[1], n_buckets=N_BUCKETS, **options
  )
  check_parity(
    LSHSelfAttention(**layer, hash_fn=lambda q: buckets),
    tl.LSHSelfAttention(**layer, n_parallel_heads=None),
    case,
    make_weights(1),
    counts,
    buckets=buckets,
    n_buckets=N_BUCKETS,
  )


# causal, masked, share_qk, look (None for full attention)
SELF = [
  (True, False, False, None),
  (False, True, False, None),
  (True, True, True, None),
  (True, False, False, (1, 0)),
  (False, False, False, (1, 1)),
  (True, True, True, (1, 0)),
  (False, True, False, (2, 1)),
]


@pytest.mark.parametrize('causal,masked,share_qk,look', SELF)
def test_self_attention_equals_trax(causal, masked, share_qk, look):
  case = make_case(5, 24, masked)
  real = np.ones((2, 24), bool) if case[1] is None else case[1]
  options = dict(causal=causal)
  if look is not None:
    options.update(
      chunk_len=CHUNK, n_chunks_before=look[0], n_chunks_after=look[1]
    )
  count = reference.full_counts if look is None else reference.local_counts
  counts = [count(24, r, exclude_self=share_qk, **options) for r in real]
  layer = dict(SIZES, **options, masked=masked, share_qk=share_qk)
  check_parity(
    SelfAttention(**layer),
    tl.SelfAttention(**layer),
    case,
    make_weights(2, share_qk),
    np.stack(counts)[:, None],
  )


@pytest.mark.parametrize('masked', [False, True])
def test_lsh_equals_the_reference_where_a_token_sees_only_itself(masked):
  x, mask, d_out = make_case(7, 24, masked)
  rng = np.random.default_rng(0)
  buckets = rng.integers(0, N_BUCKETS, (2, N_HEADS, 1, 24), np.int32)
  options = dict(chunk_len=2, causal=True)
  layer = LSHSelfAttention(
    **SIZES,
    **options,
    masked=masked,
    n_buckets=N_BUCKETS,
    hash_fn=lambda q: buckets,
  )
  weights = make_weights(3)
  actual = run(layer, weights, x, mask, d_out)
  counts, real = reference.batched_lsh_counts(
    buckets, mask, n_buckets=N_BUCKETS, **options
  )
  assert (real & ~counts.any(axis=-1)).sum() > 4
  expected = _reference_layer(x, weights, counts, real, d_out)
  for a, e in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    reference.assert_close(a, e, 1e-5)


def _reference_layer(x, weights, counts, real, d_out):
  """Output, d_x and d_weights of shared query-key attention in float64."""
  with jax.enable_x64(True):
    double = lambda x: jnp.asarray(np.asarray(x, np.float64))
    counts, real = jnp.asarray(counts), jnp.asarray(real)

    @jax.jit
    def run(x, weights, d_out):
      out, vjp = jax.vjp(layer, x, weights)
      return out, *vjp(d_out)

    def layer(x, weights):
      w_q, w_v, w_o = weights
      q, v = (jnp.einsum('bld,hdk->bhlk', x, w) for w in (w_q, w_v))
      heads = reference.attention(q, None, v, counts, real, jnp)
      return jnp.einsum('bhlv,hvd->bld', heads, w_o)

    results = run(double(x), tuple(map(double, weights)), double(d_out))
    return jax.tree.map(np.asarray, results)

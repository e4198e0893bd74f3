import functools
import importlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import reference
from trax_reformer_ext.ops import chunked_attention
from trax_reformer_ext.ops.full_attention import full_attention
from trax_reformer_ext.ops.hashing import hash_vectors, random_rotations
from trax_reformer_ext.ops.lsh_attention import lsh_attention

MODES = {
  'trax': {},
  'no_wrap': dict(wrap=False),
  'paper': dict(attend_across_buckets=False, allow_duplicate_attention=False),
  'own_buckets': dict(attend_across_buckets=False),
  'once': dict(allow_duplicate_attention=False),
  'strict': dict(strictly_causal=True),
}
N_BUCKETS = 6
XLA_WAYS = ['chunks', 'windows', 'dense']


@pytest.fixture(autouse=True, params=XLA_WAYS)
def every_way(request, monkeypatch):
  """Runs every test with sorted chunks, all at once or few by few, and dense.

  A window has 3 chunks in most tests. The fused kernel's program takes long to
  compile, so only some tests run it; test_fused_attention.py has more.
  """
  up_to = 10**9 if request.param == 'dense' else 0
  module = importlib.import_module('trax_reformer_ext.ops.lsh_attention')
  monkeypatch.setattr(module, '_DENSE_UP_TO', up_to)
  if request.param == 'windows':
    room = 3 * 4 * 4 * 8 * 4
    monkeypatch.setattr(chunked_attention, 'scores_bytes', lambda: room)
  if request.param == 'interpreted':
    monkeypatch.setitem(
      lsh_attention.__kwdefaults__, 'implementation', 'interpreted'
    )


def by_every_way(names, cases, of_kernel):
  """Parametrizes a test: XLA's ways get all cases, the kernel some of them."""
  by_way = [(way, *case) for way in XLA_WAYS for case in cases]
  by_way += [('interpreted', *case) for case in of_kernel]
  return pytest.mark.parametrize(
    ('every_way', *names.split(',')), by_way, indirect=['every_way']
  )


def make_case(seed, batch, heads, rounds, length, masked=False, d_qk=8, d_v=5):
  """Queries, values, uneven buckets, mask and a gradient of the output."""
  rng = np.random.default_rng(seed)
  normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  q, v = normal(batch, heads, length, d_qk), normal(batch, heads, length, d_v)
  share = 0.5 ** np.arange(N_BUCKETS)  # the first bucket holds half of all
  buckets = rng.choice(
    N_BUCKETS, size=(batch, heads, rounds, length), p=share / share.sum()
  ).astype(np.int32)
  mask = rng.random((batch, length)) < 0.7 if masked else None
  return q, v, buckets, mask, normal(batch, heads, length, d_v)


def run(q, v, buckets, mask, d_out, **options):
  """Output and gradients with respect to q and v, jitted."""

  @jax.jit
  def both(q, v, d_out):
    attend = functools.partial(
      lsh_attention, buckets=buckets, mask=mask, n_buckets=N_BUCKETS, **options
    )
    out, vjp = jax.vjp(attend, q, v)
    return out, vjp(d_out)

  return both(q, v, d_out)


def check(case, mode='trax', **options):
  q, v, buckets, mask, d_out = case
  options.update(MODES[mode])
  out, gradients = run(q, v, buckets, mask, d_out, **options)
  counts, real = reference.batched_lsh_counts(
    buckets, mask, n_buckets=N_BUCKETS, **options
  )
  expected, expected_gradients = reference.attention_and_gradients(
    q, None, v, counts, real, d_out
  )
  reference.assert_close(out, expected, message='out')
  for name, g, e in zip('qv', gradients, expected_gradients, strict=True):
    reference.assert_close(g, e, message=f'gradient of {name}')
  # Nobody looks at padding.
  assert not np.asarray(gradients[1])[~real].any()
  return counts


# causal, masked, rounds, length, look
SHAPES = [
  (True, False, 1, 24, (1, 0)),
  (False, False, 3, 24, (1, 1)),
  (True, True, 4, 24, (2, 0)),
  (False, True, 2, 21, (1, 0)),
  (True, False, 2, 19, (1, 1)),
]


# Every mode with padding and an odd length; one with causality, chunks after.
OF_KERNEL = [(mode, SHAPES[3]) for mode in MODES] + [('trax', SHAPES[4])]


@by_every_way('mode,shape', [*itertools.product(MODES, SHAPES)], OF_KERNEL)
def test_equals_the_reference(mode, shape):
  causal, masked, rounds, length, look = shape
  check(
    make_case(1, 2, 2, rounds, length, masked),
    mode,
    chunk_len=4,
    causal=causal,
    n_chunks_before=look[0],
    n_chunks_after=look[1],
  )


@by_every_way(
  'mode,rounds',
  [('trax', 8), ('paper', 1), ('paper', 8), ('strict', 5)],
  [('paper', 8), ('strict', 5)],
)
def test_many_rounds_and_buckets_longer_than_the_reach(mode, rounds):
  case = make_case(2, 1, 2, rounds, 36)
  # The first bucket is far longer than the two chunks that a query sees.
  assert (case[2] == 0).sum(axis=-1).min() > 2 * 4
  check(case, mode, chunk_len=4, causal=True)


@by_every_way('mode', [('trax',), ('paper',), ('strict',)], [('strict',)])
def test_rows_that_see_only_themselves(mode):
  q, v, buckets, _, d_out = make_case(3, 1, 1, 2, 12)
  mask = np.zeros((1, 12), bool)
  mask[0, 11] = True
  case = q, v, buckets, mask, d_out
  counts = check(case, mode, chunk_len=4, causal=True)
  assert not counts.any()
  out, gradients = run(*case, chunk_len=4, causal=True, **MODES[mode])
  np.testing.assert_array_equal(out[0, 0, 11], v[0, 0, 11])
  np.testing.assert_array_equal(gradients[1][0, 0, 11], d_out[0, 0, 11])


def test_first_chunks_look_around_the_ring_of_all_rounds():
  # A round's first chunk sees the last chunk of the round before; the very
  # first sees the very last.
  q, v, _, _, d_out = make_case(4, 1, 1, 2, 8)
  positions = np.arange(8)
  buckets = np.stack([positions // 4, 1 - positions // 4]).astype(np.int32)
  counts = check((q, v, buckets[None, None], None, d_out), chunk_len=4)
  # Orders: 0 1 2 3 | 4 5 6 7 | 4 5 6 7 | 0 1 2 3.
  others = np.ones((4, 4), int) - np.eye(4, dtype=int)
  expected = np.block(
    [[2 * others + np.ones((4, 4)) - np.eye(4), np.ones((4, 4))],
     [np.ones((4, 4)), 2 * others + np.ones((4, 4)) - np.eye(4)]]
  )  # fmt: skip
  np.testing.assert_array_equal(counts[0, 0], expected)


@pytest.mark.parametrize('causal', [False, True])
def test_one_bucket_and_full_reach_is_exact_attention(causal):
  q, v, buckets, _, _ = make_case(5, 2, 2, 3, 24)
  one_chunk = dict(chunk_len=24, n_chunks_before=0)
  chunks = dict(chunk_len=4, n_chunks_before=5, n_chunks_after=5)
  band = dict(chunk_len=4, n_chunks_before=6)
  ways = [dict(one_chunk, **MODES[mode]) for mode in MODES if mode != 'strict']
  ways += [dict(chunks, **MODES[mode]) for mode in ('paper', 'once')]
  if causal:
    ways.append(dict(band, strictly_causal=True))

  @jax.jit
  def both(q, v):
    exact = full_attention(q, None, v, causal=causal)
    return exact, [
      lsh_attention(
        q, v, jnp.zeros_like(buckets), n_buckets=1, causal=causal, **way
      )
      for way in ways
    ]

  exact, outs = both(q, v)
  for way, out in zip(ways, outs, strict=True):
    reference.assert_close(out, exact, message=str(way))


@pytest.mark.parametrize('length', [24, 21])
@pytest.mark.parametrize('mode', MODES)
def test_with_given_buckets_no_output_depends_on_a_later_token(mode, length):
  q, v, buckets, _, _ = make_case(6, 1, 2, 3, length)
  attend = jax.jit(
    functools.partial(
      lsh_attention,
      buckets=buckets,
      n_buckets=N_BUCKETS,
      chunk_len=4,
      causal=True,
      **MODES[mode],
    )
  )
  expected = attend(q, v)
  rng = np.random.default_rng(0)
  for t in (0, 7, 12, length - 2):
    later = (np.arange(length) > t)[:, None]
    noise = 9 * rng.normal(size=(length, 1))
    out = attend(*(jnp.where(later, noise, x) for x in (q, v)))
    reference.assert_close(out[:, :, : t + 1], expected[:, :, : t + 1], 1e-6)
    # The last token does move, so the comparison can fail.
    assert np.abs(out - expected)[:, :, -1].max() > 1e-2


def _hashed(rotations, **options):
  """Attention with its own hashing, as a function of q and v."""

  @jax.jit
  def attend(q, v, mask=None):
    buckets = hash_vectors(q, rotations, 8)
    return lsh_attention(q, v, buckets, mask, n_buckets=8, **options)

  return attend


@pytest.mark.parametrize('mode', MODES)
def test_gradients_from_the_future_are_exactly_zero(mode):
  q, v, *_ = make_case(7, 1, 1, 1, 21)
  rotations = random_rotations(jax.random.PRNGKey(0), 1, 8, 2, 8)
  attend = _hashed(rotations, chunk_len=4, causal=True, **MODES[mode])
  # d out[t] / d q[s] and, in the values, the attention weights themselves.
  d_q, d_v = jax.jit(jax.jacrev(attend, argnums=(0, 1)))(q, v)
  for jacobian in (d_q, d_v):
    size = np.abs(np.asarray(jacobian)[0, 0, :, :, 0, 0]).max(axis=(1, 3))
    assert (size[np.triu_indices(21, 1)] == 0).all()
    assert size.max() > 1e-2


@pytest.mark.parametrize('mode', ['paper', 'strict', 'no_wrap'])
@pytest.mark.parametrize('causal', [False, True])
def test_padding_never_changes_a_real_token(mode, causal):
  if mode == 'strict' and not causal:
    pytest.skip('strictly_causal is causal')
  length, padded = 19, 32
  q, v, *_ = make_case(8, 2, 2, 1, padded)
  rotations = random_rotations(jax.random.PRNGKey(0), 2, 8, 3, 8)
  attend = _hashed(
    rotations, chunk_len=4, causal=causal, n_chunks_after=1, **MODES[mode]
  )
  expected = attend(q[:, :, :length], v[:, :, :length])
  mask = np.broadcast_to(np.arange(padded) < length, (2, padded))
  rng = np.random.default_rng(0)
  for scale in (0, 1, 100):
    noise = scale * rng.normal(size=(*q.shape[:3], 1))
    padding = lambda x, noise=noise: jnp.where(mask[:, None, :, None], x, noise)
    out = attend(padding(q), padding(v), mask)
    reference.assert_close(out[:, :, :length], expected, 1e-6)


@by_every_way(
  'mode,dtype',
  [
    *itertools.product(['trax', 'paper', 'strict'], [jnp.float32, jnp.bfloat16])
  ],
  [('trax', jnp.bfloat16)],
)
def test_fully_masked_rows_are_zero_with_zero_gradients(mode, dtype):
  q, v, buckets, _, d_out = make_case(9, 2, 2, 2, 16)
  mask = np.zeros((2, 16), bool)
  mask[1, 7:] = True  # nothing is allowed in the first example and rows
  q, v, d_out = (jnp.asarray(x, dtype) for x in (q, v, d_out))
  out, gradients = run(
    q, v, buckets, mask, d_out, chunk_len=4, causal=True, **MODES[mode]
  )
  assert out.dtype == dtype
  for x in (out, *gradients):
    assert x.dtype == dtype
    x = np.asarray(x, np.float32)
    assert np.isfinite(x).all()
    assert not x[0].any() and not x[1, :, :7].any()
    assert x[1, :, 7:].any(axis=(1, 2)).all()


def test_bfloat16_is_close_to_float32():
  q, v, buckets, mask, d_out = make_case(10, 2, 2, 3, 24, masked=True)
  options = dict(chunk_len=4, causal=True)
  exact = run(q, v, buckets, mask, d_out, **options)
  half = (jnp.asarray(x, jnp.bfloat16) for x in (q, v))
  rough = run(*half, buckets, mask, d_out.astype(jnp.bfloat16), **options)
  for x, y in zip(jax.tree.leaves(rough), jax.tree.leaves(exact), strict=True):
    reference.assert_close(x, y, 0.05)


@pytest.mark.parametrize('mode', ['trax', 'paper'])
def test_one_head_after_another_gives_the_same(mode, monkeypatch):
  q, v, buckets, mask, d_out = make_case(11, 2, 3, 2, 16, masked=True)
  options = dict(chunk_len=4, causal=True, **MODES[mode])
  together = run(q, v, buckets, mask, d_out, **options)
  # Room for one head, and for two of six.
  for room in (1, 2 * 2 * 16 * 8 * 4):
    monkeypatch.setattr(
      chunked_attention, 'scores_bytes', lambda room=room: room
    )
    apart = run(q, v, buckets, mask, d_out, **options)
    for x, y in zip(
      jax.tree.leaves(apart), jax.tree.leaves(together), strict=True
    ):
      reference.assert_close(x, y, 1e-6)


def test_dropout_is_the_expectation_and_has_true_gradients():
  q, v, buckets, _, d_out = make_case(12, 1, 2, 2, 16)
  options = dict(n_buckets=N_BUCKETS, chunk_len=4, causal=True)

  @jax.jit
  def attend(q, v, seed):
    rng = jax.random.PRNGKey(seed)
    return lsh_attention(q, v, buckets, dropout=0.3, dropout_rng=rng, **options)

  samples = jax.jit(jax.vmap(attend, (None, None, 0)))(q, v, jnp.arange(3000))
  plain = lsh_attention(q, v, buckets, **options)
  assert np.abs(samples[0] - samples[1]).max() > 0.05
  error = np.abs(samples.mean(axis=0) - plain)
  assert (error < 6 * samples.std(axis=0) / 3000**0.5 + 1e-5).all()
  # The gradient by finite differences, with the same dropout.
  rng = np.random.default_rng(0)
  value = jax.jit(lambda q, v: jnp.sum(attend(q, v, 7) * d_out))
  gradients = jax.jit(jax.grad(value, argnums=(0, 1)))(q, v)
  for _ in range(3):
    dq, dv = (rng.normal(size=x.shape).astype(np.float32) for x in (q, v))
    step = 1e-3
    moved = value(q + step * dq, v + step * dv)
    moved -= value(q - step * dq, v - step * dv)
    expected = float(moved) / (2 * step)
    actual = np.sum(gradients[0] * dq) + np.sum(gradients[1] * dv)
    assert abs(actual - expected) < 5e-3 * max(1, abs(expected))

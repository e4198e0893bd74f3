"""Chunked attention by the fused kernel's program, against XLA's operations.

The program runs in Pallas's interpreter, which takes seconds to compile, so
each case combines several features. test_lsh_attention.py and
test_local_attention.py compare both with a reference written in NumPy.
"""

import functools
import importlib
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import reference
from tests.ops.test_lsh_attention import MODES, N_BUCKETS, make_case
from trax_reformer_ext.ops import (
  fused_attention,
  tiles,
  triton,
  triton_attention,
)
from trax_reformer_ext.ops.hashing import hash_vectors, random_rotations
from trax_reformer_ext.ops.local_attention import local_attention
from trax_reformer_ext.ops.lsh_attention import lsh_attention

D_QK, D_V = 16, 32


class Case(NamedTuple):
  """Attention of one kind.

  Attributes:
    mode: str, of MODES; 'local' or 'local_shared'.
    chunk_len: int. Tiles have up to 64 tokens, and 16 where a chunk has 48.
    length: int.
    look: (chunks before, chunks after).
    rounds: int.
    causal: bool.
    masked: bool.
    bfloat16: bool, tested in bfloat16 as well.
  """

  mode: str
  chunk_len: int
  length: int
  look: tuple = (1, 0)
  rounds: int = 2
  causal: bool = True
  masked: bool = False
  bfloat16: bool = True


CASES = {
  'ring': Case('trax', 128, 250),
  'ring_shorter_than_the_look': Case(
    'trax', 48, 96, (3, 1), 1, causal=False, bfloat16=False
  ),
  'no_wrap': Case('no_wrap', 16, 50, (2, 1), causal=False, bfloat16=False),
  'paper': Case('paper', 16, 60, (1, 1), masked=True),
  'own_buckets': Case('own_buckets', 48, 130, bfloat16=False),
  'once': Case('once', 16, 64, (1, 1), rounds=3),
  'strict': Case('strict', 128, 270, masked=True),
  'local': Case('local', 128, 300, (1, 1)),
  'local_shared': Case('local_shared', 48, 90, (0, 1), causal=False),
}


def run(case, arrays, implementation, dtype=jnp.float32, **options):
  """Output and gradients (with respect to q and v, or q, k and v), jitted."""
  q, k, v, buckets, mask, d_out = arrays
  q, k, v, d_out = (
    None if x is None else x.astype(dtype) for x in (q, k, v, d_out)
  )
  options.update(
    chunk_len=case.chunk_len,
    n_chunks_before=case.look[0],
    n_chunks_after=case.look[1],
    causal=case.causal,
    implementation=implementation,
  )
  if case.mode in MODES:
    attend = lambda q, k, v, mask, **options: lsh_attention(
      q, v, buckets, mask, n_buckets=N_BUCKETS, **options
    )
    options.update(MODES[case.mode])
  else:
    attend = local_attention
  return reference.run_attention(attend, q, k, v, mask, d_out, **options)


def arrays_of(case, batch=1, heads=2):
  """(q, k or None, v, buckets, mask or None, d_out), exact in bfloat16."""
  q, v, buckets, mask, d_out = make_case(
    case.length,
    batch,
    heads,
    case.rounds,
    case.length,
    case.masked,
    D_QK,
    D_V,
  )
  k = q[..., ::-1, ::-1] if case.mode == 'local' else None
  rounded = lambda x: None if x is None else x.astype(jnp.bfloat16)
  exact = lambda x: None if x is None else rounded(x).astype(jnp.float32)
  return exact(q), exact(k), exact(v), buckets, mask, exact(d_out)


@functools.cache
def exact_result(name):
  """What XLA's operations give in float32."""
  return run(CASES[name], arrays_of(CASES[name]), 'xla')


def assert_all_close(actual, expected, tolerance=2e-5):
  for a, e in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    assert a.dtype == e.dtype
    reference.assert_close(a, e, tolerance)


@pytest.mark.parametrize('name', CASES)
def test_float32_equals_xla(name):
  case = CASES[name]
  found = run(case, arrays_of(case), 'interpreted')
  assert_all_close(found, exact_result(name))


@pytest.mark.parametrize(
  'name', [name for name, case in CASES.items() if case.bfloat16]
)
def test_bfloat16_is_as_close_to_float32_as_xla_is(name):
  case, expected = CASES[name], jax.tree.leaves(exact_result(name))
  found, by_xla = (
    jax.tree.leaves(run(case, arrays_of(case), way, jnp.bfloat16))
    for way in ('interpreted', 'xla')
  )
  for f, x, e in zip(found, by_xla, expected, strict=True):
    assert f.dtype == x.dtype == jnp.bfloat16
    error, allowed = (_distance(y, e) for y in (f, x))
    assert 0 < error < 1.5 * allowed + 1e-4


def _distance(x, y):
  """Root mean square of the difference over that of y."""
  x, y = (np.asarray(z, np.float64) for z in (x, y))
  return np.linalg.norm(x - y) / np.linalg.norm(y)


@pytest.mark.parametrize('name', ['own_buckets', 'local_shared'])
def test_dropout_drops_what_xla_drops(name, monkeypatch):
  # XLA's dense way draws another mask.
  module = importlib.import_module('trax_reformer_ext.ops.lsh_attention')
  monkeypatch.setattr(module, '_DENSE_UP_TO', 0)
  case = CASES[name]
  dropout = dict(dropout=0.4, dropout_rng=jax.random.PRNGKey(5))
  found, expected = (
    run(case, arrays_of(case), way, **dropout) for way in ('interpreted', 'xla')
  )
  assert_all_close(found, expected)
  assert np.abs(found[0] - exact_result(name)[0]).max() > 0.1


def _calls(monkeypatch):
  """Records calls of kernels: (name, first, n, size of the largest array)."""
  calls = []

  def spy(name):
    kernel = getattr(triton_attention, name)

    def call(look, arrays, n_rounds, *, first, n, **options):
      outs = kernel(look, arrays, n_rounds, first=first, n=n, **options)
      largest = max(x.size for x in (*arrays.values(), *outs))
      calls.append((name, first, n, largest))
      return outs

    monkeypatch.setattr(triton_attention, name, call)

  spy('forward')
  spy('backward')
  return calls


def test_groups_of_sequences_give_the_same(monkeypatch):
  case = Case('once', 16, 40, (1, 1), masked=True)
  arrays = arrays_of(case, batch=2)
  together = run(case, arrays, 'xla')
  monkeypatch.setattr(fused_attention, '_BYTES_BY_ROUND', 1)
  monkeypatch.setattr(fused_attention, '_MAX_GROUPS', 2)
  calls = _calls(monkeypatch)
  assert_all_close(run(case, arrays, 'interpreted'), together)
  groups = [call[:3] for call in calls]
  by_two = lambda name: [(name, first, 2) for first in (0, 2)]
  assert groups == by_two('forward') + by_two('backward')


def test_what_kernels_cannot_index_at_once_comes_in_turns(monkeypatch):
  case = Case('trax', 16, 48)
  arrays = arrays_of(case, batch=2)
  expected = run(case, arrays, 'xla')
  # Room for the inputs of two sequences, and what one writes by round.
  most = case.rounds * case.length * D_V
  monkeypatch.setattr(triton, 'MAX_ELEMENTS', most)
  calls = _calls(monkeypatch)
  assert_all_close(run(case, arrays, 'interpreted'), expected)
  assert {call[2] for call in calls} == {1}
  assert all(largest <= most for *_, largest in calls)


@pytest.mark.parametrize(
  'n,length,d_qk,d_v,rounds,expected',
  [
    (8, 2**16, 64, 64, 4, 8),
    (64, 2**20, 64, 64, 8, 16),  # 32 would be 2^31 elements
    (48, 2**20, 64, 32, 8, 24),
    (64, 2**20, 32, 64, 8, 16),
    (64, 2**20, 64, 64, 128, 8),
    (7, 2**24, 64, 64, 8, 1),
  ],
)
def test_so_many_sequences_are_indexed_at_once(
  n, length, d_qk, d_v, rounds, expected
):
  of = lambda depth: jax.ShapeDtypeStruct((n, length, depth), jnp.bfloat16)
  assert fused_attention.n_at_once(of(d_qk), of(d_v), rounds) == expected
  # No offset is beyond int32, and no larger number would divide the sequences.
  of_one = length * max(d_qk, d_v, rounds)
  larger = [m for m in range(expected + 1, n + 1) if n % m == 0]
  assert expected * of_one < 2**31 <= min(larger, default=math.inf) * of_one


def test_no_kernel_gets_more_elements_than_it_can_index(monkeypatch):
  calls = _calls(monkeypatch)
  batch, heads, length, rounds = 8, 8, 2**20, 4
  of = lambda depth: jax.ShapeDtypeStruct(
    (batch, heads, length, depth), jnp.bfloat16
  )
  buckets = jax.ShapeDtypeStruct((batch, heads, rounds, length), jnp.int32)

  def gradients(q, v, buckets):
    attend = functools.partial(
      lsh_attention,
      buckets=buckets,
      n_buckets=N_BUCKETS,
      chunk_len=64,
      implementation='fused',
    )
    out, vjp = jax.vjp(attend, q, v)
    return vjp(out)

  assert math.prod(of(64).shape) > 2**31
  shapes = jax.eval_shape(gradients, of(64), of(64), buckets)
  assert [x.shape for x in shapes] == [of(64).shape] * 2
  assert {name for name, *_ in calls} == {'forward', 'backward'}
  assert all(0 < largest < 2**31 for *_, largest in calls)


def test_no_kernel_gets_more_sequences_than_cuda_can_start(monkeypatch):
  calls = _calls(monkeypatch)
  x = jax.ShapeDtypeStruct((8192, 8, 64, 16), jnp.bfloat16)
  attend = functools.partial(
    local_attention, chunk_len=64, implementation='fused'
  )
  assert jax.eval_shape(attend, x, x, x).shape == x.shape
  assert sum(n for _, _, n, _ in calls) == 8192 * 8
  assert all(n < 2**16 for _, _, n, _ in calls)


def why_unsupported(
  d_qk=64, d_v=64, chunk_len=64, length=1024, rounds=8, dtype=jnp.bfloat16
):
  of = lambda depth: jax.ShapeDtypeStruct((2, 8, length, depth), dtype)
  return fused_attention.why_unsupported(of(d_qk), of(d_v), rounds, chunk_len)


@pytest.mark.parametrize(
  'options,expected',
  [
    (dict(chunk_len=10), 'chunk_len is 10: a multiple of 16 is needed'),
    (dict(chunk_len=8), 'chunk_len is 8: a multiple of 16 is needed'),
    (dict(d_qk=48), 'd_qk is 48: a power of 2 from 16 to 128 is needed'),
    (dict(d_qk=8), 'd_qk is 8: a power of 2 from 16 to 128 is needed'),
    (dict(d_v=256), 'd_v is 256: a power of 2 from 16 to 128 is needed'),
    (
      dict(dtype=jnp.float16),
      'the input is float16: float32 or bfloat16 is needed',
    ),
    (
      dict(length=2**22),
      '8 rounds of 4194304 positions have more than 2^31 elements',
    ),
    (dict(), None),
    (dict(dtype=jnp.float32, length=2**21), None),
    (dict(chunk_len=48, d_qk=16, d_v=128), None),
  ],
)
def test_what_is_unsupported_is_named(options, expected):
  assert why_unsupported(**options) == expected


def test_strictly_causal_outputs_do_not_depend_on_later_tokens():
  """Not even through their hashes and the chunk borders."""
  q, _, v, *_ = arrays_of(Case('strict', 16, 75))
  rotations = random_rotations(jax.random.PRNGKey(0), 2, D_QK, 2, N_BUCKETS)

  @jax.jit
  def attend(q, v):
    way = dict(implementation='interpreted')
    buckets = hash_vectors(q, rotations, N_BUCKETS, **way)
    return lsh_attention(
      q,
      v,
      buckets,
      n_buckets=N_BUCKETS,
      chunk_len=16,
      strictly_causal=True,
      **way,
    )

  expected = attend(q, v)
  rng = np.random.default_rng(0)
  for t in (0, 15, 16, 40, 73):
    later = (np.arange(75) > t)[:, None]
    out = attend(
      *(jnp.where(later, 5 * rng.normal(size=x.shape), x) for x in (q, v))
    )
    before = slice(0, t + 1)
    reference.assert_close(out[:, :, before], expected[:, :, before], 1e-6)
    # The last token does move, so the comparison can fail.
    assert np.abs(out - expected)[:, :, -1].max() > 0.1


def test_gradients_from_the_future_are_exactly_zero():
  case, t = Case('strict', 16, 60), 37
  *inputs, d_out = arrays_of(case)
  d_out = jnp.where((np.arange(60) == t)[:, None], d_out, 0)
  _, gradients = run(case, (*inputs, d_out), 'interpreted')
  for gradient in gradients:
    size = np.abs(gradient).max(axis=(0, 1, 3))
    assert not size[t + 1 :].any() and size[: t + 1].max() > 1e-2


def test_rows_that_see_nothing_are_zero_in_bfloat16():
  """With zero gradients, where keys are separate; nothing is NaN."""
  case = Case('local', 16, 40)
  q, k, v, buckets, _, d_out = arrays_of(case, batch=2)
  mask = np.zeros((2, 40), bool)
  mask[1, 9:] = True  # nothing in the first example and rows
  arrays = q, k, v, buckets, mask, d_out
  out, gradients = run(case, arrays, 'interpreted', jnp.bfloat16)
  for x in (out, *gradients):
    x = np.asarray(x, np.float32)
    assert np.isfinite(x).all()
    assert not x[0].any() and not x[1, :, :9].any()
  for x in (out, gradients[-1]):
    assert np.asarray(x, np.float32)[1, :, 9:].any(axis=-1).all()


@pytest.mark.parametrize('implementation', ['xla', 'interpreted'])
def test_nan_in_one_example_is_seen_and_stays_there(implementation):
  case = Case('trax', 16, 40)
  q, *others = arrays_of(case, batch=3)
  broken = q.at[1, 0, 3, 2].set(jnp.nan)
  clean = run(case, (q, *others), implementation)
  found = run(case, (broken, *others), implementation)
  for f, c in zip(jax.tree.leaves(found), jax.tree.leaves(clean), strict=True):
    np.testing.assert_array_equal(f[::2], c[::2])
    assert np.isfinite(c).all()
  # Neither evaluation nor training goes on as if nothing were wrong.
  assert np.isnan(found[0][1, 0, 3]).all()
  assert np.isnan(found[1][0][1]).any()


def test_softmax_of_keys_that_come_tile_by_tile():
  """Whatever the size of the scores, and with rows without any key."""
  rng = np.random.default_rng(0)
  scores = rng.normal(size=(8, 48)).astype(np.float32)
  scores[1] *= 1e4
  scores[2] -= 1e5
  scores[3] = -np.inf
  scores[4, :32] = -np.inf
  scores[5, 16:] = -np.inf
  values = rng.normal(size=(48, 4)).astype(np.float32)

  @jax.jit
  def by_tiles(scores, values):
    softmax = tiles.start_softmax(8, 4)
    for part in np.split(np.arange(48), 3):
      softmax = tiles.add_keys(softmax, scores[:, part], values[part])
    return tiles.finish_softmax(softmax)

  mean, norm = by_tiles(scores, values)
  seen = np.arange(8) != 3
  top = scores[seen].max(axis=1, keepdims=True)
  weights = np.exp(np.float64(scores[seen] - top))
  total = weights.sum(axis=1, keepdims=True)
  reference.assert_close(mean[seen], weights @ values / total)
  expected = (top + np.log(total))[:, 0]
  np.testing.assert_allclose(norm[seen], expected, rtol=1e-6)
  assert not mean[3].any() and np.isneginf(norm[3])

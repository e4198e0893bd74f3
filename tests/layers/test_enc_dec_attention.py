import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trax import layers as tl

from tests import reference
from trax_reformer_ext import EncDecAttention, ReformerError

N_HEADS, D_QK, D_V, D_MODEL, D_SOURCE = 2, 6, 4, 8, 10
SIZES = dict(n_heads=N_HEADS, d_qk=D_QK, d_v=D_V, mode='eval')
LENGTH, N_SOURCE = 7, 11
KEY = jax.random.PRNGKey(0)


def normal(seed, *shape):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=shape), jnp.float32)


@pytest.fixture(scope='module')
def case():
  shapes = [(D_MODEL, D_QK), (D_SOURCE, D_QK), (D_SOURCE, D_V), (D_V, D_MODEL)]
  weights = tuple(normal(i, N_HEADS, *s) for i, s in enumerate(shapes))
  x = normal(5, 2, LENGTH, D_MODEL)
  source = normal(6, 2, N_SOURCE, D_SOURCE)
  mask = np.ones((2, N_SOURCE), bool)
  mask[1, 0] = mask[0, 5:] = False
  return x, source, mask, weights


def slow(x, source, mask, weights):
  """The definition: softmax over the real tokens of the source."""
  w_q, w_k, w_v, w_o = weights
  q, k, v = (
    jnp.einsum('bld,hde->bhle', y, w)
    for y, w in ((x, w_q), (source, w_k), (source, w_v))
  )
  scores = jnp.einsum('bhid,bhjd->bhij', q, k) / np.sqrt(D_QK)
  scores = jnp.where(mask[:, None, None], scores, -jnp.inf)
  out = jnp.einsum('bhij,bhjd->bhid', jax.nn.softmax(scores), v)
  return jnp.einsum('bhid,hdm->bim', out, w_o)


def output_and_gradients(fn, *arrays):
  out, vjp = jax.vjp(fn, *arrays)
  return out, vjp(normal(9, *out.shape).astype(out.dtype))


@pytest.mark.parametrize('block_bytes', [None, 4 * 2 * N_HEADS * N_SOURCE * 3])
def test_is_softmax_attention_with_its_gradients(
  case, block_bytes, monkeypatch
):
  if block_bytes:  # blocks of three queries
    monkeypatch.setattr(
      'trax_reformer_ext.ops.full_attention._BLOCK_BYTES', block_bytes
    )
  x, source, mask, weights = case
  layer = EncDecAttention(**SIZES)
  actual = output_and_gradients(
    lambda x, s, w: layer.pure_fn((x, s, mask), w, (), KEY)[0],
    *(x, source, weights),
  )
  expected = output_and_gradients(
    lambda x, s, w: slow(x, s, mask, w), x, source, weights
  )
  for a, e in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    reference.assert_close(a, e)


def test_equals_that_of_trax_without_a_mask(case):
  x, source, _, weights = case
  ours = EncDecAttention(**SIZES, masked=False)
  of_trax = tl.EncDecAttention(**SIZES, masked=False)
  run = lambda layer: layer.pure_fn((x, source), weights, (), KEY)[0]
  reference.assert_close(run(ours), run(of_trax))


def test_that_of_trax_with_a_mask_is_a_plain_sum(case):
  """The fault that is not copied."""
  x, source, _, weights = case
  mask = np.ones((2, N_SOURCE), bool)
  of_trax = tl.EncDecAttention(**SIZES)
  out, _ = of_trax.pure_fn((x, source, mask), weights, (), KEY)
  _, _, w_v, w_o = weights
  total = jnp.einsum('bjd,hde,hem->bm', source, w_v, w_o)
  reference.assert_close(out, np.broadcast_to(total[:, None], out.shape))


def test_weights_are_those_of_trax(case):
  x, source, mask, weights = case
  layer = EncDecAttention(**SIZES)
  signature = [jax.ShapeDtypeStruct(y.shape, y.dtype) for y in case[:3]]
  initial, state = layer.init(signature)
  assert state == ()
  assert [w.shape for w in initial] == [w.shape for w in weights]
  depth = [D_MODEL, D_SOURCE, D_SOURCE, D_MODEL]
  for w, d, e in zip(initial, depth, [D_QK, D_QK, D_V, D_V], strict=True):
    limit = np.sqrt(6 / (d + e * N_HEADS))
    assert 0.7 * limit < np.abs(w).max() <= limit


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_a_source_of_padding_gives_zero_with_a_zero_gradient(case, dtype):
  x, source, _, weights = case
  mask = np.zeros((2, N_SOURCE), bool)
  mask[1] = True
  layer = EncDecAttention(**SIZES)
  out, (d_x, d_source) = output_and_gradients(
    lambda x, s: layer.pure_fn((x, s, mask), weights, (), KEY)[0],
    *(x.astype(dtype), source.astype(dtype)),
  )
  for value in (out, d_x, d_source):
    assert value.dtype == dtype
    value = np.asarray(value, np.float32)
    assert np.isfinite(value).all()
    assert not value[0].any() and value[1].any()


def test_masked_tokens_do_not_matter(case):
  x, source, mask, weights = case
  layer = EncDecAttention(**SIZES)
  run = lambda s: layer.pure_fn((x, s, mask), weights, (), KEY)[0]
  other = jnp.where(mask[..., None], source, 1e4)
  np.testing.assert_array_equal(run(source), run(other))


def test_keeps_the_source_of_the_first_call_in_mode_predict(case):
  x, source, mask, weights = case
  expected = slow(x, source, mask, weights)
  layer = EncDecAttention(**SIZES | dict(mode='predict'))
  out, state = layer.pure_fn((x[:, :3], source, mask), weights, (), KEY)
  reference.assert_close(out, expected[:, :3])
  nothing = jnp.full_like(source, jnp.nan), np.zeros_like(mask)
  out, _ = layer.pure_fn((x[:, 3:], *nothing), weights, state, KEY)
  reference.assert_close(out, expected[:, 3:])


def test_dropout_is_active_in_training_alone(case):
  x, source, mask, weights = case
  rates = dict(attention_dropout=0.5, output_dropout=0.5)
  run = lambda mode: EncDecAttention(
    **SIZES | dict(mode=mode), **rates
  ).pure_fn((x, source, mask), weights, (), KEY)[0]
  reference.assert_close(run('eval'), slow(x, source, mask, weights))
  assert np.abs(run('train') - run('eval')).max() > 0.1


@pytest.mark.parametrize(
  'options,message',
  [
    (dict(n_heads=0), 'n_heads is 0'),
    (dict(d_v=1.5), 'd_v is 1.5'),
    (dict(mode='test'), "mode is 'test'"),
    (dict(output_dropout=1.0), 'output_dropout is 1.0'),
  ],
)
def test_refusals_name_the_parameter_and_its_value(options, message):
  with pytest.raises(ReformerError, match=f'EncDecAttention.{message}'):
    EncDecAttention(**options)

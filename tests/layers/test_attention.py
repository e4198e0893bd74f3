import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trax import layers as tl
from trax.shapes import ShapeDtype

from tests import reference
from trax_reformer_ext import LSHSelfAttention, ReformerError, SelfAttention

D_MODEL = 8
SIZES = dict(n_heads=2, d_qk=6, d_v=4)
PAPER = dict(attend_across_buckets=False, allow_duplicate_attention=False)
STRICT = dict(strictly_causal=True)
LSH = functools.partial(
  LSHSelfAttention, **SIZES, chunk_len=4, n_hashes=2, n_buckets=6, mode='eval'
)
SELF = functools.partial(SelfAttention, **SIZES, mode='eval')
LOCAL = functools.partial(SELF, chunk_len=4, n_chunks_before=1)


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype('float32')


def make_weights(layer):
  weights, _ = layer.weights_and_state_signature(ShapeDtype((1, 8, D_MODEL)))
  shapes = [w.shape for w in weights]
  return tuple(0.5 * normal(i, *shape) for i, shape in enumerate(shapes))


def function_of(layer):
  """The layer with some weights, as a function of its inputs and a seed."""
  weights = make_weights(layer)

  def apply(x, mask=None, seed=0):
    inputs = x if mask is None else (x, mask)
    rng = jax.random.PRNGKey(seed)
    dtype = lambda w: w.astype(x.dtype)
    return layer.pure_fn(inputs, jax.tree.map(dtype, weights), (), rng)[0]

  return apply


def applied(layer):
  return jax.jit(function_of(layer))


@pytest.mark.parametrize(
  'name,options',
  [
    ('LSHSelfAttention', dict(n_hashes=3, masked=True)),
    ('SelfAttention', dict()),
    ('SelfAttention', dict(share_qk=True, chunk_len=4)),
  ],
)
def test_weight_shapes_are_those_of_trax(name, options):
  ours = dict(LSHSelfAttention=LSHSelfAttention, SelfAttention=SelfAttention)
  options = dict(options, n_heads=3, d_qk=6, d_v=5)
  x = ShapeDtype((1, 8, D_MODEL))
  inputs = (x, ShapeDtype((1, 8), bool)) if 'masked' in options else x
  weights, state = ours[name](**options).init(inputs)
  expected, _ = getattr(tl, name)(**options).init(inputs)
  assert [w.shape for w in weights] == [w.shape for w in expected]
  assert not state  # neither batch size nor length is fixed


@pytest.mark.parametrize('make', [LSH, SELF, LOCAL])
def test_the_same_weights_serve_any_length_and_batch_size(make):
  apply = applied(make(causal=True))
  for shape in [(1, 1, D_MODEL), (3, 21, D_MODEL)]:
    out = apply(normal(0, *shape))
    assert out.shape == shape
    assert np.isfinite(out).all() and (out != 0).any(axis=-1).all()


CAUSAL = dict(
  exact=SELF,
  shared=functools.partial(SELF, share_qk=True),
  local=LOCAL,
  shared_local=functools.partial(LOCAL, share_qk=True),
  strict=functools.partial(LSH, **STRICT),
)


@pytest.mark.parametrize('length', [24, 21])
@pytest.mark.parametrize('name', CAUSAL)
def test_outputs_do_not_depend_on_later_inputs(name, length):
  worst, last = _change_by_later_inputs(CAUSAL[name](causal=True), length)
  assert worst < 1e-6
  assert last > 0.1  # the last position does change


@pytest.mark.parametrize('options', [{}, PAPER], ids=['trax', 'paper'])
def test_lsh_outputs_may_move_with_later_chunk_borders(options):
  worst, _ = _change_by_later_inputs(LSH(causal=True, **options), 24)
  assert worst > 1e-2


def _change_by_later_inputs(layer, length):
  """Largest change up to t of replacing the inputs after t; change at last."""
  apply = applied(layer)
  x = normal(0, 2, length, D_MODEL)
  expected = apply(x)
  worst = 0
  for t in range(0, length - 1, 3):
    changed = x.copy()
    changed[:, t + 1 :] = 3 * normal(t, 2, length - t - 1, D_MODEL)
    change = np.abs(apply(changed) - expected)
    worst = max(worst, change[:, : t + 1].max())
  return worst, change[:, -1].max()


@pytest.mark.parametrize(
  'options,length',
  [({}, 24), ({}, 21), (PAPER, 21), (STRICT, 21)],
  ids=['trax', 'trax_padded', 'paper', 'strict'],
)
def test_lsh_gradients_from_the_future_are_exactly_zero(options, length):
  apply = function_of(LSH(causal=True, **options))
  jacobian = jax.jit(jax.jacrev(lambda x: apply(x[None])[0].sum(axis=-1)))
  size = np.abs(jacobian(normal(1, length, D_MODEL))).max(axis=-1)
  assert (size[np.triu_indices(length, 1)] == 0).all()
  assert size[np.tril_indices(length, -1)].max() > 0.1


PADDED = dict(
  exact=SELF(masked=True),
  exact_causal=SELF(masked=True, causal=True),
  local_causal=LOCAL(masked=True, causal=True),
  local_no_wrap=LOCAL(masked=True, n_chunks_after=1, wrap=False),
  lsh_no_wrap=LSH(masked=True, wrap=False),
  paper_causal=LSH(masked=True, causal=True, **PAPER),
  strict=LSH(masked=True, causal=True, **STRICT),
)


@pytest.mark.parametrize('name', PADDED)
def test_padding_never_changes_a_real_token(name):
  apply = applied(PADDED[name])
  x = normal(0, 2, 19, D_MODEL)
  real = np.random.default_rng(0).random((2, 19)) < 0.8
  expected = apply(x, real)
  x = np.pad(x, ((0, 0), (0, 13), (0, 0)))
  mask = np.pad(real, ((0, 0), (0, 13)))
  for scale in (0, 1, 100):
    padding = scale * normal(1, 2, 32, D_MODEL)
    out = apply(np.where(mask[..., None], x, padding), mask)
    reference.assert_close(out[mask], expected[real], 2e-6)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize('make', [SELF, LOCAL, LSH])
def test_fully_masked_rows_are_zero_with_zero_gradients(make, dtype):
  apply = function_of(make(masked=True))
  x = jnp.asarray(normal(0, 2, 12, D_MODEL), dtype)
  mask = np.zeros((2, 12), bool)
  mask[1] = True

  @jax.jit
  def both(x):
    out, vjp = jax.vjp(lambda x: apply(x, mask), x)
    return out, *vjp(jnp.ones_like(out))

  for value in both(x):
    assert value.dtype == dtype
    value = np.asarray(value, np.float32)
    assert np.isfinite(value).all()
    assert not value[0].any() and value[1].any()


@pytest.mark.parametrize(
  'make,options,message',
  [
    (LSH, dict(n_buckets=7), 'n_buckets is 7'),
    (LSH, dict(n_buckets=[4, 3]), r'n_buckets is \[4, 3\]'),
    (LSH, dict(n_hashes=0), 'n_hashes is 0'),
    (LSH, dict(chunk_len=0), 'chunk_len is 0'),
    (LSH, dict(chunk_len=2.5), 'chunk_len is 2.5'),
    (LSH, dict(n_chunks_before=-1), 'n_chunks_before is -1'),
    (LSH, dict(mode='other'), "mode is 'other'"),
    (LSH, dict(bias=True), 'bias is True'),
    (LSH, dict(strictly_causal=True), 'strictly_causal is True.*causal=True'),
    (LSH, dict(attention_dropout=1.0), 'attention_dropout is 1.0'),
    (SELF, dict(n_heads=0), 'n_heads is 0'),
    (SELF, dict(chunk_len=-4), 'chunk_len is -4'),
    (
      SELF,
      dict(n_chunks_after=1),
      'n_chunks_before is 0 and n_chunks_after 1.*set chunk_len',
    ),
    (SELF, dict(mode='test'), "mode is 'test'"),
    (SELF, dict(bias=True), 'bias is True'),
  ],
)
def test_refusals_name_the_parameter_and_its_value(make, options, message):
  with pytest.raises(ReformerError, match=f'SelfAttention.{message}'):
    make(**options)


def test_eval_hashes_the_same_whatever_the_rng():
  x = normal(0, 2, 24, D_MODEL)
  apply = applied(LSH(n_hashes=1))
  np.testing.assert_array_equal(apply(x, seed=1), apply(x, seed=2))
  other_seed = applied(LSH(n_hashes=1, hash_seed=1))
  assert np.abs(other_seed(x) - apply(x)).max() > 1e-3


def test_train_hashes_anew_with_every_rng():
  x = normal(0, 2, 24, D_MODEL)
  apply = applied(LSH(n_hashes=1, mode='train'))
  np.testing.assert_array_equal(apply(x, seed=1), apply(x, seed=1))
  assert np.abs(apply(x, seed=2) - apply(x, seed=1)).max() > 1e-3


@pytest.mark.parametrize('make', [LSH, SELF, LOCAL])
@pytest.mark.parametrize('option', ['attention_dropout', 'output_dropout'])
def test_dropout_is_for_training(make, option):
  x = normal(0, 1, 8, D_MODEL)
  one_bucket = {'hash_fn': lambda q: jnp.zeros((1, 2, 2, 8), jnp.int32)}
  options = one_bucket if make is LSH else {}
  plain = applied(make(**options))(x)
  options[option] = 0.5
  np.testing.assert_array_equal(applied(make(**options))(x), plain)
  dropped = applied(make(**options, mode='train'))(x, seed=4)
  assert np.abs(dropped - plain).max() > 1e-2
  if option == 'output_dropout':
    zero = (dropped == 0).all(axis=(0, 1))
    assert 0 < zero.sum() < D_MODEL
    np.testing.assert_allclose(dropped[..., ~zero], 2 * plain[..., ~zero])


def test_short_inputs_get_exact_attention_if_asked():
  below = applied(LSH(causal=True, exact_attention_below=24))
  exact = applied(SELF(causal=True, share_qk=True))
  for length, is_exact in [(23, True), (24, False)]:
    x = normal(0, 2, length, D_MODEL)
    difference = np.abs(below(x) - exact(x)).max()
    assert (difference < 1e-6) == is_exact

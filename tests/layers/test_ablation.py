"""LSHSelfAttention.ablation: the layer without its work."""

import functools

import jax
import numpy as np
import pytest

from trax_reformer_ext import LSHSelfAttention
from trax_reformer_ext.errors import ReformerError

BATCH, LENGTH, D_MODEL = 2, 24, 8


def layer(ablation, mode='eval', **options):
  options = dict(n_heads=2, chunk_len=4, n_buckets=6, n_hashes=3) | options
  made = LSHSelfAttention(causal=True, ablation=ablation, mode=mode, **options)
  made.init(jax.ShapeDtypeStruct((BATCH, LENGTH, D_MODEL), np.float32))
  return made


def some(seed):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(BATCH, LENGTH, D_MODEL)).astype(np.float32)


@pytest.mark.parametrize('options', [{}, dict(exact_attention_below=99)])
def test_zeroed_gives_zeros(options):
  assert not np.any(layer('zeroed', **options)(some(0)))
  assert np.any(layer(None, **options)(some(0)))


def test_random_buckets_are_the_same_whatever_the_input():
  made = layer('random_buckets')
  first, second = (made.hashed(some(seed)).buckets for seed in (0, 1))
  assert first.shape == (BATCH, 2, 3, LENGTH)
  np.testing.assert_array_equal(first, second)
  np.testing.assert_array_equal(first[0], first[1])
  assert set(np.unique(first)) == set(range(6))
  # Each head and round draws its own, and another seed others.
  assert len({bytes(np.asarray(b)) for b in first[0].reshape(6, -1)}) == 6
  other = layer('random_buckets', hash_seed=1).hashed(some(0)).buckets
  assert np.any(first != other)


def test_random_buckets_are_what_is_attended_by():
  made, x = layer('random_buckets'), some(0)
  buckets = made.hashed(x).buckets
  given = layer(None, hash_fn=lambda q: buckets)
  given.weights = made.weights
  np.testing.assert_array_equal(made(x), given(x))


def test_training_draws_random_buckets_anew():
  made = layer('random_buckets', mode='train')
  drawn = [made.hashed(some(0), jax.random.PRNGKey(i)).buckets for i in (0, 1)]
  assert np.any(drawn[0] != drawn[1])


@pytest.mark.parametrize('ablation', ['zeroed', 'random_buckets'])
def test_it_has_gradients_within_a_reversible_stack(ablation):
  from tests.models.helpers import init
  from tests.models.test_reformer_lm_options import SMALL, tokens_with

  attention = functools.partial(
    LSHSelfAttention, chunk_len=4, n_buckets=4, ablation=ablation
  )
  model = SMALL(attention_type=[attention], mode='train')
  tokens = tokens_with(16)
  weights, state = init(model, tokens.shape)
  key = jax.random.PRNGKey(0)
  loss = lambda w: model.pure_fn(tokens, w, state, key)[0].var()
  gradients = jax.tree.leaves(jax.jit(jax.grad(loss))(weights))
  assert all(np.isfinite(g).all() for g in gradients)
  assert any(np.any(g) for g in gradients)


@pytest.mark.parametrize(
  'options,message',
  [
    (dict(ablation='all'), r"LSHSelfAttention.ablation is 'all': give one of"),
    (
      dict(ablation='zeroed', mode='predict'),
      "LSHSelfAttention.ablation is 'zeroed' with mode='predict'",
    ),
  ],
)
def test_mistakes(options, message):
  with pytest.raises(ReformerError, match=message):
    LSHSelfAttention(causal=True, **options)

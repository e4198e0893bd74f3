"""ReformerLM's padding_id, attention_dropout and layer_norm_epsilon."""

import functools

import jax
import numpy as np
import pytest

from tests.models.helpers import init, shaken, shapes_of
from tests.reference import assert_close
from trax_reformer_ext import LSHSelfAttention, ReformerLM, SelfAttention

VOCABULARY, PAD, LENGTH = 13, 5, 16
LOCAL = functools.partial(SelfAttention, chunk_len=4, n_chunks_before=1)
LSH = functools.partial(LSHSelfAttention, chunk_len=4, n_buckets=4)
SMALL = functools.partial(
  ReformerLM,
  vocab_size=VOCABULARY,
  d_model=8,
  d_ff=12,
  d_attention_key=4,
  d_attention_value=4,
  n_layers=2,
  n_heads=2,
  dropout=0.0,
  max_len=32,
  attention_type=[LOCAL, LSH],
  mode='eval',
)
KEY = jax.random.PRNGKey(0)


def run(model, tokens, weights=None):
  """Logits [batch, length, vocabulary], with shaken weights."""
  own, state = init(model, tokens.shape)
  if weights is None:
    weights = own
  else:
    weights = jax.tree.unflatten(
      jax.tree.structure(own), jax.tree.leaves(weights)
    )
  return np.asarray(jax.jit(model.pure_fn)(tokens, weights, state, KEY)[0])


def weights_of(model):
  return shaken(init(model, (1, LENGTH))[0])


def tokens_with(padded_from):
  """Two examples that differ in the length of what is padded alone."""
  rng = np.random.default_rng(0)
  tokens = rng.integers(6, VOCABULARY, (2, LENGTH)).astype(np.int32)
  tokens[1] = tokens[0]
  tokens[1, padded_from:] = PAD
  return tokens


@pytest.mark.parametrize('kind', [SelfAttention, LOCAL, LSH])
@pytest.mark.parametrize(
  'more', [{}, dict(shift_right=False), dict(reversible=False)]
)
def test_padding_is_never_attended(kind, more):
  """The number of padding tokens changes nothing, without causality either."""
  options = dict(attention_type=[kind], causal=False, **more)
  model = SMALL(padding_id=PAD, **options)
  weights = weights_of(model)
  tokens = tokens_with(8)[1:]
  longer = np.pad(tokens, [(0, 0), (0, 4)], constant_values=PAD)
  out, of_longer = run(model, tokens, weights), run(model, longer, weights)
  assert_close(of_longer[:, :8], out[:, :8])
  unmasked = SMALL(**options)
  out, of_longer = (
    run(unmasked, tokens, weights),
    run(unmasked, longer, weights),
  )
  assert np.abs(of_longer[:, :8] - out[:, :8]).max() > 1e-3


def test_padding_id_changes_nothing_without_padding():
  tokens = tokens_with(LENGTH)
  weights = weights_of(SMALL())
  expected = run(SMALL(), tokens, weights)
  assert_close(run(SMALL(padding_id=PAD), tokens, weights), expected)


def test_padding_id_trains_in_micro_batches():
  tokens = tokens_with(8)
  whole = SMALL(padding_id=PAD)
  weights = weights_of(whole)
  parts = SMALL(padding_id=PAD, n_micro_batches=2)
  assert_close(run(parts, tokens, weights), run(whole, tokens, weights))

  def total(weights):
    out, _ = whole.pure_fn(tokens, weights, state, KEY)
    return (out[:, :8] ** 2).sum()

  weights, state = init(whole, tokens.shape)
  for gradient in jax.tree.leaves(jax.jit(jax.grad(total))(weights)):
    assert np.isfinite(gradient).all()


def test_attention_dropout_is_one_rate_or_takes_turns():
  """Each rate makes attention random in layers of its own type alone."""
  tokens = tokens_with(LENGTH)

  def moves(rates, types):
    model = SMALL(attention_dropout=rates, attention_type=types, mode='train')
    weights, state = init(model, tokens.shape)
    forward = jax.jit(model.pure_fn)
    one, other = (
      forward(tokens, weights, state, jax.random.PRNGKey(seed))[0]
      for seed in (0, 1)
    )
    return np.abs(one - other).max() > 1e-4

  both = [LOCAL, SelfAttention]
  assert not moves(None, both)  # dropout is 0
  assert moves(0.5, both)
  assert moves([0.5, 0.0], both) and moves([0.0, 0.5], both)
  assert not moves([0.0, 0.0], both)


def test_layer_norm_epsilon_is_in_every_normalisation():
  tokens = tokens_with(LENGTH)
  weights = weights_of(SMALL())
  flat = run(SMALL(layer_norm_epsilon=0.9), tokens, weights)
  assert np.abs(flat - run(SMALL(), tokens, weights)).max() > 0.05

  def epsilons(layer):
    found = [getattr(layer, '_epsilon', None)]
    return sum(map(epsilons, layer.sublayers), found)

  norms = [e for e in epsilons(SMALL(layer_norm_epsilon=0.25)) if e]
  assert norms == [0.25] * 5  # two a layer, and the last


@pytest.mark.parametrize(
  'options,message',
  [
    (dict(padding_id=13), r'padding_id is 13: give an id in \[0, 13\)'),
    (dict(padding_id=-1), 'padding_id is -1'),
    (dict(attention_dropout=[0.1]), r'attention_dropout is \[0.1\], but there'),
    (dict(layer_norm_epsilon=0), 'layer_norm_epsilon is 0'),
    (
      dict(layer_norm_epsilon=1e-5, ff_use_sru=1),
      'layer_norm_epsilon is 1e-05 with ff_use_sru 1',
    ),
  ],
)
def test_refusals(options, message):
  with pytest.raises(ValueError, match=f'ReformerLM.{message}'):
    SMALL(**options)


def test_attention_that_takes_no_mask_is_refused():
  from trax import layers as tl

  with pytest.raises(ValueError, match='padding_id is set, but attention_type'):
    shapes_of(SMALL(attention_type=tl.CausalAttention, padding_id=0), (1, 8))

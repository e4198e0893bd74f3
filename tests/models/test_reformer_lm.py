import functools
import re

import jax
import numpy as np
import pytest
from trax import layers as tl

from tests.models.helpers import init, shaken, shapes_of
from tests.reference import assert_close
from trax_reformer_ext import (
  ChunkedCrossEntropyLoss,
  LSHSelfAttention,
  ReformerLM,
  SelfAttention,
)

LSH = functools.partial(LSHSelfAttention, chunk_len=4, n_hashes=2, n_buckets=4)
LOCAL = functools.partial(SelfAttention, chunk_len=4, n_chunks_before=1)
SMALL = functools.partial(
  ReformerLM,
  vocab_size=31,
  d_model=8,
  d_ff=12,
  d_attention_key=6,
  d_attention_value=4,
  n_layers=2,
  n_heads=2,
  max_len=32,
  attention_type=LOCAL,
)
EVAL = functools.partial(SMALL, mode='eval')


def make_tokens(length, batch=2, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(1, 31, (batch, length), np.int32)


def loss_of(model, loss=tl.WeightedCategoryCrossEntropy):
  """The loss as a function of weights, state, tokens and a seed."""
  loss = loss()

  def compute(weights, state, tokens, seed):
    rng = jax.random.PRNGKey(seed)
    out, _ = model.pure_fn(tokens, weights, state, rng)
    out = out if isinstance(out, (tuple, list)) else (out,)
    targets = np.ones(tokens.shape, np.float32)
    targets[:, -2:] = 0.5
    return loss.pure_fn((*out, tokens, targets), (), (), rng)[0]

  return compute


def value_and_grad(model, *arguments, **options):
  compute = jax.value_and_grad(loss_of(model, **options))
  return jax.jit(compute)(*arguments)


def applied(model, length, seed=0):
  """The model with some weights, as a jitted function of tokens."""
  weights, state = init(model, (2, length))
  weights = shaken(weights)
  rng = jax.random.PRNGKey(seed)
  return jax.jit(lambda x: model.pure_fn(x, weights, state, rng)[0])


def assert_same(actual, expected, tolerance):
  """Asserts that losses and gradients are equal, leaf by leaf."""
  assert_close(actual[0], expected[0], tolerance)
  gradients = [jax.tree.leaves(x[1]) for x in (actual, expected)]
  for a, e in zip(*gradients, strict=True):
    assert_close(a, e, tolerance)


def test_gradients_of_the_reversible_model_are_those_of_autodiff():
  make = functools.partial(
    SMALL, attention_type=LSH, dropout=0.2, ff_chunk_size=4
  )
  model = make()
  weights, state = init(model, (2, 18))
  arguments = shaken(weights), state, make_tokens(18), 5
  actual = value_and_grad(model, *arguments)
  plain = make(store_activations_below=10**6)
  shapes_of(plain, (2, 18))  # Trax's layers run after an init only
  assert_same(actual, value_and_grad(plain, *arguments), 1e-4)
  other_dropout = value_and_grad(model, *arguments[:3], 6)
  assert abs(other_dropout[0] - actual[0]) > 1e-3


def test_chunked_loss_equals_the_whole():
  whole, sliced = SMALL(n_layers=1), SMALL(n_layers=1, loss_chunk_size=5)
  weights, state = init(whole, (2, 18))
  same_place = shapes_of(sliced, (2, 18))[0]
  assert jax.tree.map(np.shape, weights) == jax.tree.map(np.shape, same_place)
  arguments = shaken(weights), state, make_tokens(18), 0
  expected = value_and_grad(whole, *arguments)
  actual = value_and_grad(sliced, *arguments, loss=ChunkedCrossEntropyLoss)
  assert_same(actual, expected, 1e-5)


def test_chunked_loss_has_no_array_of_length_times_vocabulary():
  length, vocab_size = 96, 1009
  options = dict(vocab_size=vocab_size, max_len=length, n_layers=1)

  def largest(model, loss):
    weights, state = shapes_of(model, (1, length))
    tokens = jax.ShapeDtypeStruct((1, length), np.int32)
    gradient = jax.jit(jax.grad(loss_of(model, loss)), static_argnums=3)
    compiled = gradient.lower(weights, state, tokens, 0).compile()
    shapes = re.findall(r'\b[a-z]+\d+\[([\d,]+)\]', compiled.as_text())
    return max(np.prod([int(n) for n in s.split(',')]) for s in shapes)

  whole = largest(SMALL(**options), tl.WeightedCategoryCrossEntropy)
  assert whole >= length * vocab_size
  sliced = SMALL(loss_chunk_size=16, **options)
  kernel = 2 * 8 * vocab_size
  assert largest(sliced, ChunkedCrossEntropyLoss) == kernel


def test_micro_batches_give_the_same_gradients():
  whole = SMALL(n_layers=1, dropout=0.0)
  parts = SMALL(n_layers=1, dropout=0.0, n_micro_batches=2)
  weights, state = init(whole, (4, 8))
  weights = shaken(weights)
  expected = value_and_grad(whole, weights, state, make_tokens(8, 4), 0)
  like, state = init(parts, (4, 8))
  leaves = jax.tree.leaves(weights)
  weights = jax.tree.unflatten(jax.tree.structure(like), leaves)
  actual = value_and_grad(parts, weights, state, make_tokens(8, 4), 0)
  assert_same(actual, expected, 1e-5)


CAUSAL = dict(
  exact_and_local=dict(attention_type=[SelfAttention, LOCAL]),
  strict=dict(attention_type=LSH, strictly_causal=True),
)


@pytest.mark.parametrize('length', [16, 18])
@pytest.mark.parametrize('name', CAUSAL)
def test_logits_depend_only_on_earlier_tokens(name, length):
  apply = applied(EVAL(**CAUSAL[name]), length)
  tokens = make_tokens(length)
  expected = apply(tokens)
  for t in range(0, length - 1):
    changed = tokens.copy()
    changed[:, t:] = make_tokens(length - t, seed=1 + t)
    change = np.abs(apply(changed) - expected)
    assert change[:, : t + 1].max() < 2e-6
    assert change[:, t + 1 :].max() > 0.01


def test_default_lsh_has_no_gradient_from_the_future():
  length = 18
  model = EVAL(attention_type=LSH)
  weights, state = init(model, (1, length))
  leaves, tree = jax.tree.flatten(shaken(weights))
  assert leaves[0].shape == (31, 8)  # the embedding
  tokens = np.arange(1, length + 1, dtype=np.int32)[None]  # each one once

  def logits(embedding):
    weights = jax.tree.unflatten(tree, [embedding, *leaves[1:]])
    rng = jax.random.PRNGKey(0)
    return model.pure_fn(tokens, weights, state, rng)[0][0, :, 0]

  jacobian = jax.jit(jax.jacrev(logits))(leaves[0])
  size = np.abs(jacobian).max(axis=-1)[:, tokens[0]]
  assert (size[np.triu_indices(length)] == 0).all()
  assert (size[np.arange(1, length), np.arange(length - 1)] > 0).all()


@pytest.mark.parametrize('attention_type', [LSH, LOCAL, SelfAttention])
def test_bidirectional_models_see_later_tokens(attention_type):
  model = EVAL(attention_type=attention_type, shift_right=False, causal=False)
  apply = applied(model, 8)
  tokens = make_tokens(8)
  changed = tokens.copy()
  changed[:, 7] = tokens[:, 7] % 30 + 1
  change = np.abs(apply(changed) - apply(tokens))
  assert change[:, :7].max() > 1e-3
  # Unshifted: a token's own position sees it.
  assert change[:, 7].max() > 0.1


def test_weights_serve_any_length():
  model = EVAL(
    attention_type=[LOCAL, LSH], pos_axial_shape=(8, 4), pos_d_axial_embs=(5, 3)
  )
  apply = applied(model, 8)
  for length in (1, 19):
    logits = apply(make_tokens(length, 3))
    assert logits.shape == (3, length, 31)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
  'options,message',
  [
    (dict(ff_sparsity=4), 'ff_sparsity is 4'),
    (dict(loss_chunk_size=-1), 'loss_chunk_size is -1'),
    (
      dict(loss_chunk_size=4, loss_sparsity=2),
      'loss_chunk_size is 4 with loss_sparsity 2',
    ),
    (dict(loss_d_lowrank=4), "loss_d_lowrank is 4.*needs 'lowrank'"),
    (
      dict(n_layers=3, attention_type=[LOCAL, LSH]),
      'n_layers is 3.*a multiple of 2',
    ),
    (dict(mode='other'), "mode is 'other'"),
    (dict(strictly_causal=True), 'strictly_causal is True, but no'),
    (dict(exact_attention_below=9), 'exact_attention_below is 9, but no'),
    (dict(d_model=0), 'd_model is 0'),
    (dict(n_micro_batches=0), 'n_micro_batches is 0'),
    (dict(pos_type='axis'), "pos_type is 'axis'"),
    (dict(pos_axial_shape=(8, 4)), r'pos_axial_shape is \(8, 4\)'),
    (
      dict(attention_type=tl.LSHSelfAttention),
      'attention_type is trax.layers.LSHSelfAttention',
    ),
  ],
)
def test_refusals_name_the_parameter_and_its_value(options, message):
  with pytest.raises(ValueError, match=f'ReformerLM.{message}'):
    SMALL(**options)


@pytest.mark.parametrize(
  'options,message',
  [
    (dict(max_len=17), 'max_len is 17, but the input has 18'),
    (
      dict(pos_axial_shape=(4, 4), pos_d_axial_embs=(5, 3)),
      r'pos_axial_shape is \(4, 4\).*16.*the input has 18',
    ),
    (
      dict(pos_axial_shape=(8, 4), pos_d_axial_embs=(5, 4)),
      r'pos_d_axial_embs is \(5, 4\).*sum 9.*d_model, 8',
    ),
    (dict(n_micro_batches=3), 'n_micro_batches is 3, but the batch has 2'),
  ],
)
def test_inputs_that_do_not_fit_are_told_the_limit(options, message):
  with pytest.raises(Exception, match=f'(?s){message}'):
    shapes_of(SMALL(**options), (2, 18))


def test_an_axial_shape_alone_means_axial_positions():
  axial = dict(pos_axial_shape=(8, 4), pos_d_axial_embs=(5, 3))
  weights, _ = shapes_of(EVAL(**axial), (2, 18))
  shapes = [w.shape for w in jax.tree.leaves(weights)]
  assert (1, 8, 1, 5) in shapes and (1, 1, 4, 3) in shapes
  named, _ = shapes_of(EVAL(**axial, pos_type='axial'), (2, 18))
  assert [w.shape for w in jax.tree.leaves(named)] == shapes


@pytest.mark.parametrize(
  'options',
  [
    dict(ff_use_sru=1),
    dict(loss_sparsity=2),
    dict(loss_sparsity=2, loss_sparsity_type='lowrank', loss_d_lowrank=4),
  ],
)
def test_rarer_options_of_trax_train(options):
  model = SMALL(**options, vocab_size=32, n_layers=1)
  weights, state = init(model, (2, 8))
  loss, gradients = value_and_grad(model, weights, state, make_tokens(8), 0)
  assert np.isfinite(loss)
  for leaf in jax.tree.leaves(gradients):
    assert np.isfinite(leaf).all()

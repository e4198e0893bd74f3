import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trax import layers as tl
from trax.models.reformer import reformer as of_trax
from trax.shapes import ShapeDtype
from trax.supervised import decoding

from tests.models.helpers import shaken
from tests.reference import assert_close
from trax_reformer_ext import (
  ChunkedCrossEntropyLoss,
  LSHSelfAttention,
  Reformer,
  ReformerError,
  SelfAttention,
)
from trax_reformer_ext.layers import ReversibleSerial

SIZES = dict(
  input_vocab_size=13,
  d_model=8,
  d_ff=12,
  n_encoder_layers=2,
  n_decoder_layers=2,
  n_heads=2,
  dropout=0.0,
  max_len=64,
)
LOCAL = functools.partial(
  SelfAttention, chunk_len=4, n_chunks_before=1, wrap=False
)
LSH = functools.partial(LSHSelfAttention, chunk_len=4, n_hashes=2, n_buckets=4)
PAPER = dict(attend_across_buckets=False, allow_duplicate_attention=False)
KINDS = {
  'exact': dict(),
  'local': dict(encoder_attention_type=LOCAL, decoder_attention_type=LOCAL),
  'lsh': dict(encoder_attention_type=LSH, decoder_attention_type=LSH, **PAPER),
  'mixed': dict(
    encoder_attention_type=[LSH, SelfAttention],
    decoder_attention_type=[SelfAttention, LSH],
    strictly_causal=True,
  ),
}
KEY = jax.random.PRNGKey(0)


def init(model, n_source=9, n_target=6, batch=2):
  """Weights, moved so that no bias is 0, and state."""
  shapes = (
    ShapeDtype((batch, n_source), np.int32),
    ShapeDtype((batch, n_target), np.int32),
  )
  weights, state = jax.jit(lambda: model.init(shapes, rng=KEY))()
  return shaken(weights), state


def like(weights, model, **shapes):
  """The same weights in the tree of another model."""
  target, state = init(model, **shapes)
  leaves = jax.tree.leaves(weights)
  return jax.tree.unflatten(jax.tree.structure(target), leaves), state


def make_tokens(seed, batch, length, n_ids=13):
  return np.random.default_rng(seed).integers(1, n_ids, (batch, length))


def run(model, source, target, weights, state):
  (logits, out_target), _ = jax.jit(model.pure_fn)(
    (source, target), weights, state, KEY
  )
  np.testing.assert_array_equal(out_target, target)
  return np.asarray(logits)


class RightEncDecAttention(tl.EncDecAttention):
  """Trax's layer with a mask that masks."""

  def forward_unbatched(self, x, source, mask, *, weights, state, **kwargs):
    w_q, w_k, w_v, w_o = weights
    scores = (x @ w_q) @ (source @ w_k).T / np.sqrt(w_q.shape[-1])
    probabilities = jax.nn.softmax(jnp.where(mask, scores, -1e9))
    return probabilities @ (source @ w_v) @ w_o, state


@pytest.mark.parametrize('output_vocab_size', [None, 11])
@pytest.mark.parametrize('d_ff_sru', [0, 1])
def test_weights_of_trax_give_its_encoding_and_logits(
  monkeypatch, output_vocab_size, d_ff_sru
):
  options = dict(
    SIZES,
    output_vocab_size=output_vocab_size,
    ff_use_sru=d_ff_sru,
    mode='eval',
  )
  with monkeypatch.context() as patch:
    patch.setattr(of_trax.tl, 'EncDecAttention', RightEncDecAttention)
    theirs = of_trax.Reformer(**options)
  ours = Reformer(**options)
  theirs_weights, theirs_state = init(theirs)
  weights, state = like(theirs_weights, ours)
  assert [w.shape for w in jax.tree.leaves(init(ours)[0])] == [
    w.shape for w in jax.tree.leaves(theirs_weights)
  ]
  source, target = make_tokens(0, 2, 9), make_tokens(1, 2, 6, 11)
  source[1, 4:] = 0  # Trax leaves padding at the positions 0 and 1 unmasked
  expected = run(theirs, source, target, theirs_weights, theirs_state)
  assert expected.shape == (2, 6, output_vocab_size or 13)
  assert np.abs(expected).max() > 1
  assert_close(run(ours, source, target, weights, state), expected, 1e-5)

  encoding = lambda model, weights, state: encode(model, source)(weights, state)
  real = source != 0
  assert_close(
    encoding(ours, weights, state)[real],
    encoding(theirs, theirs_weights, theirs_state)[real],
    1e-5,
  )


def encode(model, source):
  """The encoder's output, by the layers before the decoder's embedding."""

  def apply(weights, state):
    model.rng = KEY
    model.weights, model.state = weights, state
    layers = list(flat(model))
    stack = next(
      i for i, x in enumerate(layers) if isinstance(x, tl.ReversibleSerial)
    )
    embedding = next(
      i for i, x in enumerate(layers) if isinstance(x, tl.Embedding)
    )
    x = source
    for layer in layers[embedding:stack]:
      if layer.n_in == 1 and layer.n_out == 1:
        x = layer(x)
    x1, x2, _ = layers[stack]((x, x, source != 0))
    norm = next(x for x in layers[stack:] if x.name == 'LayerNorm')
    return np.asarray(norm((x1 + x2) / 2))

  return apply


def flat(layer):
  """The layers of nested Serials, in order."""
  for sublayer in layer.sublayers:
    if type(sublayer) is tl.Serial:
      yield from flat(sublayer)
    else:
      yield sublayer


@pytest.mark.parametrize('kind', KINDS)
def test_gradients_equal_those_of_a_plain_copy(kind, monkeypatch):
  """The context's gradient reaches the encoder once, through all layers."""
  model = Reformer(**SIZES, **KINDS[kind], output_vocab_size=11, mode='train')
  weights, state = init(model)
  source, target = make_tokens(0, 2, 9), make_tokens(1, 2, 6, 11)
  source[1, 5:] = target[0, 4:] = 0
  d_logits = np.random.default_rng(2).normal(size=(2, 6, 11))
  d_logits = d_logits * (target != 0)[..., None]

  def gradients():
    def loss(weights):
      (logits, _), _ = model.pure_fn((source, target), weights, state, KEY)
      return jnp.sum(logits * d_logits)

    return jax.jit(jax.value_and_grad(loss))(weights)

  value, actual = gradients()
  # The plain copy keeps all activations: the layers one after another.
  monkeypatch.setattr(ReversibleSerial, 'forward', tl.Serial.forward)
  expected_value, expected = gradients()
  assert_close(value, expected_value, 1e-4)
  for a, e in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    assert np.isfinite(a).all()
    assert_close(a, e, 2e-4)
  assert all(np.abs(e).max() > 1e-3 for e in jax.tree.leaves(expected)[:3])


@pytest.mark.parametrize('kind', ['exact', 'local', 'lsh'])
def test_a_batch_gives_each_sentence_what_it_gets_alone(kind):
  model = Reformer(**SIZES, **KINDS[kind], mode='eval')
  weights, state = init(model)
  sizes = [(9, 30), (23, 4), (1, 17), (16, 16)]
  source = np.zeros((4, 25), np.int64)
  target = np.zeros((4, 33), np.int64)
  for i, (n, m) in enumerate(sizes):
    source[i, :n] = make_tokens(i, 1, n)
    target[i, :m] = make_tokens(9 + i, 1, m)
  together = run(model, source, target, weights, state)
  for i, (n, m) in enumerate(sizes):
    alone = run(
      model, source[i : i + 1, :n], target[i : i + 1, :m], weights, state
    )
    assert_close(together[i, :m], alone[0], 1e-5, f'sentence {i}')


@pytest.mark.parametrize('kind', KINDS)
def test_short_and_long_in_one_batch(kind):
  options = SIZES | dict(max_len=700, n_encoder_layers=2, n_decoder_layers=2)
  model = Reformer(**options, **KINDS[kind], mode='eval')
  weights, state = init(model)
  source, target = np.zeros((2, 700), np.int64), np.zeros((2, 700), np.int64)
  for i, (n, m) in enumerate([(5, 700), (700, 5)]):
    source[i, :n] = make_tokens(i, 1, n)
    target[i, :m] = make_tokens(2 + i, 1, m)
  logits = run(model, source, target, weights, state)
  assert logits.shape == (2, 700, 13) and np.isfinite(logits).all()
  if kind in ('exact', 'local', 'lsh'):
    alone = run(model, source[:1, :5], target[:1], weights, state)
    assert_close(logits[0], alone[0], 2e-5)
    alone = run(model, source[1:], target[1:, :5], weights, state)
    assert_close(logits[1, :5], alone[0], 2e-5)


@pytest.mark.parametrize('kind', ['exact', 'local', 'mixed'])
@pytest.mark.parametrize('n_prompt', [1, 11])
def test_cached_steps_equal_teacher_forcing(kind, n_prompt):
  model = Reformer(**SIZES, **KINDS[kind], mode='eval')
  weights, state = init(model)
  source, target = make_tokens(0, 2, 9), make_tokens(1, 2, 37)
  source[1, 3:] = 0
  expected = run(model, source, target, weights, state)

  cached = Reformer(**SIZES, **KINDS[kind], mode='predict', predict_mem_len=40)
  weights, state = like(weights, cached, n_target=1)
  step = jax.jit(cached.pure_fn)
  shifted = np.pad(target, ((0, 0), (1, 0)))[:, :-1]
  borders = [0, n_prompt, *range(n_prompt + 1, 30), 37]
  for start, end in zip(borders, borders[1:], strict=False):
    tokens = shifted[:, start:end]
    (logits, _), state = step((source, tokens), weights, state, KEY)
    assert_close(logits, expected[:, start:end], 1e-5, f'{start} to {end}')


@pytest.mark.parametrize('kind', KINDS)
def test_later_tokens_have_no_gradient(kind):
  model = Reformer(**SIZES, **KINDS[kind], mode='eval', output_vocab_size=11)
  weights, state = init(model)
  source, target = make_tokens(0, 1, 9), make_tokens(1, 1, 12, 11)
  logits = run(model, source, target, weights, state)
  changed = target.copy()
  changed[0, 7:] = 1 + changed[0, 7:] % 10
  other = run(model, source, changed, weights, state)
  if kind != 'lsh':  # chunk borders move with later tokens there
    np.testing.assert_array_equal(logits[:, :8], other[:, :8])
  assert np.abs(logits[:, 8:] - other[:, 8:]).max() > 1e-3


def test_sampling_of_trax_takes_the_model():
  options = dict(SIZES, mode='predict', predict_mem_len=20)
  model = Reformer(**options)
  source = make_tokens(0, 2, 9)
  weights, _ = model.init(
    (ShapeDtype((2, 9), np.int32), ShapeDtype((2, 1), np.int32))
  )
  ids = decoding.autoregressive_sample(
    model, source, batch_size=2, temperature=0.0, eos_id=-1, max_length=8
  )
  full = Reformer(**options | dict(mode='eval'))
  weights, state = like(weights, full)
  target = np.zeros((2, 8), np.int64)
  for i in range(8):
    logits = run(full, source, target, weights, state)
    target[:, i] = logits[:, i].argmax(-1)
  np.testing.assert_array_equal(ids, target)


def test_loss_in_slices_equals_the_loss_of_the_logits():
  plain, chunked = (
    Reformer(**SIZES, loss_chunk_size=n, mode='eval') for n in (0, 4)
  )
  weights, state = init(plain)
  source, target = make_tokens(0, 2, 9), make_tokens(1, 2, 6)
  mask = (np.arange(6) < [[4], [6]]).astype(np.float32)

  def loss(model, layer, weights):
    out, _ = model.pure_fn((source, target), weights, state, KEY)
    return layer((*out, mask))

  values = [
    jax.value_and_grad(functools.partial(loss, model, layer()))(w)
    for model, layer, w in (
      (plain, tl.WeightedCategoryCrossEntropy, weights),
      (chunked, ChunkedCrossEntropyLoss, like(weights, chunked)[0]),
    )
  ]
  for a, e in zip(*map(jax.tree.leaves, values), strict=True):
    assert_close(a, e, 1e-5)


def test_micro_batches_give_the_same():
  whole, parts = (
    Reformer(**SIZES, n_micro_batches=n, mode='eval') for n in (1, 2)
  )
  weights, state = init(whole, batch=4)
  source, target = make_tokens(0, 4, 9), make_tokens(1, 4, 6)
  assert_close(
    run(parts, source, target, *like(weights, parts, batch=4)),
    run(whole, source, target, weights, state),
    1e-5,
  )


def test_axial_positions_go_on_in_mode_predict():
  axial = dict(pos_axial_shape=(4, 6), pos_d_axial_embs=(5, 3))
  model = Reformer(**SIZES, **axial, mode='eval')
  weights, state = init(model)
  source, target = make_tokens(0, 2, 9), make_tokens(1, 2, 24)
  expected = run(model, source, target, weights, state)
  cached = Reformer(**SIZES, **axial, mode='predict')
  weights, state = like(weights, cached, n_target=1)
  shifted = np.pad(target, ((0, 0), (1, 1)))
  step = jax.jit(cached.pure_fn)
  for i in range(25):
    (logits, _), state = step(
      (source, shifted[:, i : i + 1]), weights, state, KEY
    )
    if i < 24:
      assert_close(logits[:, 0], expected[:, i], 1e-5)
  # Beyond the longest input nothing can be right.
  assert np.isnan(logits).all()


@pytest.mark.parametrize(
  'options,message',
  [
    (dict(input_vocab_size=None), 'input_vocab_size is None'),
    (dict(output_vocab_size=0), 'output_vocab_size is 0'),
    (dict(n_encoder_layers=0), 'n_encoder_layers is 0'),
    (dict(n_heads=3), 'n_heads is 3, but d_model is 8'),
    (dict(mode='test'), "mode is 'test'"),
    (dict(ff_sparsity=2), 'ff_sparsity is 2'),
    (dict(loss_chunk_size=-1), 'loss_chunk_size is -1'),
    (
      dict(decoder_attention_type=[LSH] * 3),
      'n_decoder_layers is 2, but decoder_attention_type lists 3',
    ),
    (dict(strictly_causal=True), 'strictly_causal is True, but no attention'),
    (
      dict(encoder_attention_type=tl.LSHSelfAttention),
      'attention_type is trax.layers.LSHSelfAttention',
    ),
    (dict(pos_type='other'), "pos_type is 'other'"),
  ],
)
def test_refusals_name_the_parameter_and_its_value(options, message):
  with pytest.raises(ReformerError, match=f'Reformer.{message}'):
    Reformer(**SIZES | options)


def test_a_source_beyond_max_len_is_refused():
  model = Reformer(**SIZES, mode='eval')
  with pytest.raises(Exception, match='max_len is 64, but the input has 65'):
    init(model, n_source=65)

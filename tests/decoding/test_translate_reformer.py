"""Cached translation by the Reformer against full passes in mode 'eval'."""

import functools

import jax
import numpy as np
import pytest
from trax import layers as tl
from trax import shapes

from trax_reformer_ext import LSHSelfAttention, Reformer
from trax_reformer_ext.decoding import translator

LENGTH, VOCAB_SIZE = 6, 11
MODEL = functools.partial(
  Reformer,
  input_vocab_size=VOCAB_SIZE,
  d_model=16,
  d_ff=32,
  n_heads=2,
  n_encoder_layers=2,
  n_decoder_layers=2,
  max_len=32,
)
KINDS = {
  'shared embedding': {},
  'two embeddings': {'output_vocab_size': VOCAB_SIZE},
  'chunked loss': {'loss_chunk_size': 4},
  'LSH': {
    'decoder_attention_type': functools.partial(
      LSHSelfAttention,
      chunk_len=4,
      n_hashes=2,
      n_buckets=2,
      strictly_causal=True,
    )
  },
}
SOURCE = np.array(
  [[4, 5, 6, 1, 0, 0, 0], [9, 3, 3, 8, 7, 5, 1], [2, 1, 0, 0, 0, 0, 0]],
  np.int32,
)


@pytest.fixture(scope='module', params=KINDS)
def models(request):
  """(model in mode 'predict', log-probabilities by full passes)."""
  options = dict(KINDS[request.param])
  chunked = options.pop('loss_chunk_size', 0)
  evaluated = MODEL(mode='eval', **options)
  target = np.zeros((len(SOURCE), LENGTH), np.int32)
  evaluated.init(shapes.signature((SOURCE, target)), rng=jax.random.PRNGKey(1))
  flat, _ = tl.flatten_weights_and_state(evaluated.weights, ())
  model = MODEL(
    mode='predict', predict_mem_len=LENGTH, loss_chunk_size=chunked, **options
  )
  model.init(shapes.signature((SOURCE[:1], target[:1, :1])))
  # So that no two tokens are almost equally likely.
  flat = [x * 4 if x.shape[-1] == VOCAB_SIZE else x for x in flat]
  for layer in (evaluated, model):
    layer.weights, _ = tl.unflatten_weights_and_state(
      flat, (), (layer.weights, ()), weights_only=True
    )

  @jax.jit
  def full_pass(target):
    logits = evaluated.pure_fn(
      (SOURCE, target), evaluated.weights, evaluated.state, evaluated.rng
    )[0][0]
    logits = logits.at[..., 0].set(-np.inf)
    return jax.nn.log_softmax(logits)

  return model, full_pass


def test_greedy_translation(models):
  model, full_pass = models
  want = np.zeros((len(SOURCE), LENGTH), np.int32)
  ended = np.zeros(len(SOURCE), bool)
  for i in range(LENGTH):
    token = np.argmax(full_pass(want)[:, i], axis=-1)
    want[:, i] = np.where(ended, 0, token)
    ended |= token == 1
  run = translator(model, max_length=LENGTH, beam_size=1)
  ids, _ = run(SOURCE, np.full(len(SOURCE), LENGTH))
  np.testing.assert_array_equal(ids, want)


def test_the_score_of_a_beam_is_that_of_a_full_pass(models):
  """Caches follow their hypotheses when the beam changes its order."""
  model, full_pass = models
  run = translator(model, max_length=LENGTH, beam_size=4, length_penalty=0.6)
  ids, scores = run(SOURCE, np.full(len(SOURCE), LENGTH))
  ids = np.asarray(ids)
  logs = np.take_along_axis(np.asarray(full_pass(ids)), ids[..., None], axis=2)
  lengths = (ids != 0).sum(axis=1)
  totals = np.where(ids != 0, logs[..., 0], 0).sum(axis=1)
  want = totals / ((5 + lengths) / 6) ** 0.6
  np.testing.assert_allclose(scores, want, rtol=1e-4, atol=1e-4)

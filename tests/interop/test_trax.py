"""Models that Trax has trained are taken over as they are."""

import functools
import gzip
import itertools
import pickle

import jax
import numpy as np
import pytest
import trax.models
from trax import layers as tl
from trax import optimizers
from trax.supervised import lr_schedules, training

import trax_reformer_ext as ext
from tests.interop.small import assert_same_weights
from tests.models.test_reformer import encode
from tests.reference import assert_close
from trax_reformer_ext.interop import build
from trax_reformer_ext.training.conversion import convert, read
from trax_reformer_ext.training.loop import Loop

LENGTH, VOCABULARY = 16, 13
LM_CONFIG = """
import trax.models
ReformerLM.vocab_size = 13
ReformerLM.d_model = 8
ReformerLM.d_ff = 12
ReformerLM.d_attention_key = 4
ReformerLM.d_attention_value = 4
ReformerLM.n_layers = 2
ReformerLM.n_heads = 2
ReformerLM.dropout = 0.0
ReformerLM.max_len = 16
ReformerLM.attention_type = [
  @trax.layers.SelfAttention, @trax.layers.LSHSelfAttention]
SelfAttention.chunk_len = 4
SelfAttention.n_chunks_before = 1
LSHSelfAttention.chunk_len = 16
LSHSelfAttention.n_chunks_before = 0
LSHSelfAttention.n_buckets = 2
train.model = @trax.models.ReformerLM
"""
TRANSLATION_CONFIG = """
Reformer.input_vocab_size = 13
Reformer.d_model = 8
Reformer.d_ff = 12
Reformer.n_encoder_layers = 1
Reformer.n_decoder_layers = 1
Reformer.n_heads = 2
Reformer.dropout = 0.0
Reformer.max_len = 16
train.model = @trax.models.Reformer
"""


def trax_lm(mode):
  """What LM_CONFIG says; one chunk sees all there is, whatever the buckets."""
  return trax.models.ReformerLM(
    vocab_size=VOCABULARY,
    d_model=8,
    d_ff=12,
    d_attention_key=4,
    d_attention_value=4,
    n_layers=2,
    n_heads=2,
    dropout=0.0,
    max_len=LENGTH,
    attention_type=[
      functools.partial(tl.SelfAttention, chunk_len=4, n_chunks_before=1),
      functools.partial(
        tl.LSHSelfAttention, chunk_len=LENGTH, n_chunks_before=0, n_buckets=2
      ),
    ],
    mode=mode,
  )


def trax_translation(mode):
  return trax.models.Reformer(
    input_vocab_size=VOCABULARY,
    d_model=8,
    d_ff=12,
    n_encoder_layers=1,
    n_decoder_layers=1,
    n_heads=2,
    dropout=0.0,
    max_len=LENGTH,
    mode=mode,
  )


def batches(n_in):
  """An endless stream of one batch."""
  rng = np.random.default_rng(0)
  ids = rng.integers(2, VOCABULARY, (2, LENGTH)).astype(np.int32)
  inputs = ids if n_in == 1 else np.roll(ids, 3, axis=1)
  return itertools.repeat((inputs, ids, np.ones_like(ids, np.float32)))


def task(n_in):
  return training.TrainTask(
    batches(n_in),
    tl.WeightedCategoryCrossEntropy(),
    optimizers.Adam(),
    lr_schedules.constant(0.01),
    n_steps_per_checkpoint=3,
  )


def trained_by_trax(folder, model):
  """Trains by Trax's own Loop for a few steps, and writes model.pkl.gz."""
  loop = training.Loop(
    model('train'),
    [task(1 if model is trax_lm else 2)],
    eval_model=model('eval'),
    output_dir=str(folder),
    random_seed=0,
  )
  loop.run(3)
  return loop


def loss_of(model, n_in):
  batch = next(batches(n_in))
  model.rng = jax.random.PRNGKey(0)
  logits = model(batch[0] if n_in == 1 else batch[:2])
  logits = logits[0] if isinstance(logits, tuple) else logits
  return float(tl.WeightedCategoryCrossEntropy()((logits, *batch[-2:])))


def as_one_file(folder):
  """What older versions of Trax wrote: the weights in the pickle."""
  with gzip.open(folder / 'model.pkl.gz', 'rb') as f:
    content = pickle.load(f)  # our own
  content['flat_weights'] = tl.np_from_file(
    str(folder / 'model.weights.npy.gz'), content['flat_weights']
  )
  path = folder / 'old.pkl.gz'
  with gzip.open(path, 'wb') as f:
    pickle.dump(content, f)
  return path


def first_losses(folder, start, n_in, n_steps=6):
  """Training losses of our own Loop from a checkpoint."""
  description, _ = read(str(start))
  losses = []
  loop = Loop(
    build(description, 'train'),
    task(n_in),
    eval_model=build(description, 'eval'),
    output_dir=str(folder),
    random_seed=1,
    init_checkpoint=str(start),
  )
  original = loop._run_one_step

  def run_one_step(*arguments):
    loss, stats = original(*arguments)
    losses.append(float(loss))
    return loss, stats

  loop._run_one_step = run_one_step
  loop.run(n_steps)
  return losses


def test_a_language_model_goes_on_from_the_same_loss(tmp_path):
  theirs = trained_by_trax(tmp_path / 'trax', trax_lm)
  (tmp_path / 'trax' / 'config.gin').write_text(LM_CONFIG)
  expected = loss_of(theirs.eval_model, 1)
  one = as_one_file(tmp_path / 'trax')
  convert(str(tmp_path / 'trax'), str(tmp_path / 'run'), 'run')
  convert(str(one), str(tmp_path / 'of_one'), 'run')
  weights = read(str(tmp_path / 'run'))[0].weights
  assert_same_weights(read(str(tmp_path / 'of_one'))[0].weights, weights)
  flat, _ = tl.flatten_weights_and_state(theirs.model.weights, ())
  for found, own in zip(weights.values(), flat, strict=True):
    np.testing.assert_array_equal(found, own)

  assert abs(loss_of(ext.load_model(tmp_path / 'run'), 1) - expected) < 1e-5
  losses = first_losses(tmp_path / 'on', tmp_path / 'run', 1)
  assert abs(losses[0] - expected) < 1e-5
  assert losses[-1] < losses[0] - 0.01


def test_translation_has_the_same_encoder_and_goes_on(tmp_path):
  theirs = trained_by_trax(tmp_path / 'trax', trax_translation)
  (tmp_path / 'trax' / 'config.gin').write_text(TRANSLATION_CONFIG)
  convert(str(tmp_path / 'trax'), str(tmp_path / 'run'), 'run')
  ours = ext.load_model(tmp_path / 'run')
  source = next(batches(2))[0]
  encoded = [
    encode(model, source)(model.weights, model.state)
    for model in (ours, theirs.eval_model)
  ]
  assert np.abs(encoded[1]).max() > 0.5
  assert_close(*encoded, 1e-5)
  losses = first_losses(tmp_path / 'on', tmp_path / 'run', 2)
  assert abs(losses[0] - loss_of(ours, 2)) < 1e-5
  assert losses[-1] < losses[0] - 0.01


@pytest.mark.parametrize('name', ['trax', 'one.pkl.gz'])
def test_trax_loads_what_is_written_for_it(name, tmp_path):
  trained_by_trax(tmp_path / 'a', trax_lm)
  (tmp_path / 'a' / 'config.gin').write_text(LM_CONFIG)
  convert(str(tmp_path / 'a'), str(tmp_path / 'b.safetensors'), 'safetensors')
  convert(str(tmp_path / 'b.safetensors'), str(tmp_path / name), 'trax')
  path = tmp_path / name
  path = path / 'model.pkl.gz' if path.is_dir() else path
  models = trax_lm('eval'), trax_lm('eval')
  for model, file in zip(
    models, (path, tmp_path / 'a' / 'model.pkl.gz'), strict=True
  ):
    model.init_from_file(str(file), weights_only=True)
  weights = [
    tl.flatten_weights_and_state(model.weights, ())[0] for model in models
  ]
  for found, expected in zip(*weights, strict=True):
    np.testing.assert_array_equal(found, expected)

"""A short real training in each of Trax's ways, with the loss going down."""

import functools

import jax
import numpy as np
import pytest
import trax
from trax import layers as tl
from trax import optimizers
from trax.supervised import lr_schedules, trainer_lib, training

from trax_reformer_ext import (
  ChunkedCrossEntropyLoss,
  LSHSelfAttention,
  Metrics,
  ReformerLM,
  SelfAttention,
)
from trax_reformer_ext.data.inputs import TokenInputs
from trax_reformer_ext.data.tokens import ByteTokens

TEXT = np.frombuffer(b'to be or not to be, that is the question. ' * 40, 'u1')
MODEL = functools.partial(
  ReformerLM,
  vocab_size=258,
  d_model=16,
  d_ff=32,
  n_heads=2,
  d_attention_key=8,
  d_attention_value=8,
  n_layers=2,
  dropout=0.05,
  max_len=64,
  attention_type=[
    functools.partial(SelfAttention, chunk_len=8, n_chunks_before=1),
    functools.partial(LSHSelfAttention, chunk_len=8, n_hashes=2, n_buckets=4),
  ],
)
KINDS = {
  'plain': (MODEL, tl.WeightedCategoryCrossEntropy, Metrics),
  'chunked': (
    functools.partial(MODEL, loss_chunk_size=16),
    ChunkedCrossEntropyLoss,
    functools.partial(Metrics, chunked=True),
  ),
}


def make_inputs(length=48, batch_size=4):
  splits = {'train': ByteTokens(TEXT), 'validation': ByteTokens(TEXT)}
  return TokenInputs(splits, length, batch_size, 4, random_offsets=True)


def schedule():
  return lr_schedules.constant(0.02)


@pytest.fixture(params=KINDS)
def kind(request):
  return KINDS[request.param]


def assert_learned(losses):
  """A random byte costs 5.55 nats; this text is learned quickly."""
  assert losses[0] > 4.5
  assert losses[-1] < losses[0] - 1


def test_trainer_with_train_epoch(kind, tmp_path):
  model, loss, metrics = kind
  make = lambda: trainer_lib.Trainer(
    model,
    loss(),
    optimizers.Adam,
    schedule(),
    make_inputs(),
    output_dir=str(tmp_path),
    random_seed=0,
    metrics=metrics(),
  )
  trainer = make()
  losses = []
  for _ in range(3):
    trainer.train_epoch(n_steps=10, n_eval_steps=1)
    losses.append(trainer._history.get('eval', 'metrics/loss')[-1][1])
  trainer.save_computation_graphs()
  trainer.close()
  again = make()
  assert again.step == 30
  assert again._history.get('eval', 'metrics/loss')[-1][1] == losses[-1]
  again.train_epoch(n_steps=1, n_eval_steps=1)
  again.close()
  assert losses[-1] < losses[0] - 0.3 and losses[-1] < 4
  assert 'HloModule' in (tmp_path / 'forward.txt').read_text()


@pytest.mark.parametrize('memory_efficient', [False, True])
def test_train_with_loop(kind, memory_efficient, tmp_path):
  model, loss, metrics = kind
  loop = trainer_lib.train(
    str(tmp_path),
    model=model,
    loss_fn=loss(),
    inputs=make_inputs,
    optimizer=optimizers.Adam,
    lr_schedule_fn=schedule,
    steps=30,
    eval_steps=1,
    eval_frequency=15,
    random_seed=0,
    metrics=metrics(),
    use_memory_efficient_trainer=memory_efficient,
  )
  assert isinstance(loop, training.Loop)
  losses = [v for _, v in loop.history.get('eval', 'metrics/loss')]
  assert_learned(losses)


def test_all_ways_have_the_same_gradient():
  """One SGD step without randomness, plain and memory-efficient."""
  model = functools.partial(
    MODEL,
    dropout=0.0,
    attention_type=functools.partial(SelfAttention, chunk_len=8),
  )
  batch = next(make_inputs(32, 2).train_batches())
  updated = []
  for memory_efficient in (False, True):
    layer = model(mode='train')
    rng = jax.random.PRNGKey(0)
    sgd = optimizers.SGD
    if memory_efficient:
      blocks, loss = optimizers.trainer.extract_reversible_blocks(
        [layer, tl.WeightedCategoryCrossEntropy()]
      )
      layer.init(trax.shapes.signature(batch[0]), rng=rng)
      trainer = optimizers.ReversibleSerialTrainer(blocks, loss, sgd)
    else:
      layer.init(trax.shapes.signature(batch[0]), rng=rng)
      whole = tl.Serial(layer, tl.WeightedCategoryCrossEntropy())
      optimizer = sgd()
      optimizer.tree_init(whole.weights)
      trainer = optimizers.Trainer(whole, optimizer)
    trainer.one_step(batch, rng, step=1, learning_rate=0.1)
    updated.append(tl.flatten_weights_and_state(layer.weights, ())[0])
  for x, y in zip(*updated, strict=True):
    np.testing.assert_allclose(x, y, atol=2e-5)

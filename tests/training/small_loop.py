"""A Loop over a small model, for tests."""

import functools

import numpy as np
from trax import optimizers
from trax.supervised import lr_schedules, training

from trax_reformer_ext import (
  ChunkedCrossEntropyLoss,
  LSHSelfAttention,
  Metrics,
  ReformerLM,
)
from trax_reformer_ext.data.inputs import TokenInputs
from trax_reformer_ext.data.tokens import ByteTokens
from trax_reformer_ext.training.loop import Loop

TEXT = np.frombuffer(b'to be or not to be, that is the question. ' * 40, 'u1')


def make_model(mode, dropout=0.1):
  return ReformerLM(
    vocab_size=258,
    d_model=8,
    d_ff=8,
    n_heads=2,
    d_attention_key=4,
    d_attention_value=4,
    n_layers=1,
    dropout=dropout,
    max_len=32,
    loss_chunk_size=16,
    attention_type=functools.partial(
      LSHSelfAttention, chunk_len=4, n_hashes=2, n_buckets=4
    ),
    mode=mode,
  )


def make_loop(
  folder,
  every=2,
  batch_size=4,
  dropout=0.1,
  train=None,
  optimizer=optimizers.Adam,
  learning_rate=0.01,
  seed=3,
  **kwargs,
):
  """A Loop that evaluates and saves every few steps.

  Args:
    folder: path; None for no files.
    every: int, steps between checkpoints and evaluations.
    batch_size: int.
    dropout: float.
    train: stream of training batches; None for text.
    optimizer: class.
    learning_rate: float.
    seed: int.
    **kwargs: of Loop.
  """
  splits = {'train': ByteTokens(TEXT), 'validation': ByteTokens(TEXT)}
  inputs = TokenInputs(splits, 32, batch_size, 4, random_offsets=True)
  metrics = Metrics(chunked=True)
  task = training.TrainTask(
    train or inputs.train_stream(1),
    ChunkedCrossEntropyLoss(),
    optimizer(),
    lr_schedules.constant(learning_rate),
    n_steps_per_checkpoint=every,
  )
  evaluation = training.EvalTask(
    inputs.eval_stream(1), list(metrics.values()), list(metrics)
  )
  return Loop(
    make_model('train', dropout),
    task,
    eval_model=make_model('eval', dropout),
    eval_tasks=evaluation,
    output_dir=None if folder is None else str(folder),
    random_seed=seed,
    **kwargs,
  )

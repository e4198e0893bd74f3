"""What a training run has come to."""

import itertools
import math
import os

import gin
import numpy as np

from trax_reformer_ext.data.entropy import entropies
from trax_reformer_ext.data.text import TextInputs
from trax_reformer_ext.data.tokens import decode, encode
from trax_reformer_ext.decoding import sample
from trax_reformer_ext.training.evaluate import eval_model, measure
from trax_reformer_ext.visualize.learning_curve import draw_learning_curve


@gin.configurable(module='trax_reformer_ext')
def report(
  loop,
  inputs,
  prompt_length=128,
  sample_length=256,
  temperature=0.8,
  sample_seed=0,
  n_batches=None,
):
  """Prints a run's held-out figure and draws its learning curve.

  For text also the entropies to beat, and a sample.

  Args:
    loop: Loop after training on inputs.
    inputs: TokenInputs.
    prompt_length: int, held-out bytes that the sample goes on from.
    sample_length: int, bytes to sample; 0 for no sample.
    temperature: float, of the sample.
    sample_seed: int.
    n_batches: int, evaluation batches of the split validation to measure;
      None for all.
  """
  text = inputs.text('validation') if isinstance(inputs, TextInputs) else None
  what, unit = (
    ('bytes', 'bits/byte') if text is not None else ('tokens', 'bits/dim')
  )
  # Not loop.eval_model: Trax's memory-efficient trainer evaluates in training
  # mode.
  model = eval_model(loop.tasks[0].sample_batch)
  model.weights = loop.model.weights
  batches = inputs.split_batches('validation')
  figures = measure(
    model, itertools.islice(batches, n_batches), label=f'held-out {what}'
  )
  part = f'{n_batches} batches at most of' if n_batches else 'the split'
  n_tokens = len(inputs.splits['validation'])
  print(
    f'\nHeld-out {what} ({part} validation, {n_tokens:,} in all):\n'
    f'  this model       {figures.bits_per_dim:.3f} {unit}, '
    f'accuracy {figures.accuracy:.4f}'
  )
  levels = {}
  if text is not None:
    order_0, order_1 = entropies(text)
    levels = {'order-1 entropy': order_1, 'order-0 entropy': order_0}
    for name, value in levels.items():
      print(f'  {name}  {value:.3f} {unit}')
    if sample_length:
      prompt = encode(text[:prompt_length])
      ids = sample(model, prompt, sample_length, temperature, sample_seed)
      print(
        f'\nA sample at temperature {temperature}, after {len(prompt)} '
        f'held-out bytes that end in {decode(prompt)[-32:]!r}:\n'
        f'{_indent(decode(np.asarray(ids)))}'
      )
  if loop.output_dir is not None:
    path = os.path.join(loop.output_dir, 'learning_curve.png')
    draw_learning_curve(path, _curves(loop), levels, unit.replace('/', ' per '))
    print(f'\nLearning curve: {path}')


def _curves(loop):
  """Training and held-out bits by step, from the loop's history."""
  history = loop.history
  loss = f'metrics/{loop.tasks[0].loss_name}'
  curves = {
    'training': [(s, v / math.log(2)) for s, v in history.get('train', loss)],
    'held-out': history.get('eval', 'metrics/bits_per_dim')
    or [(s, v / math.log(2)) for s, v in history.get('eval', 'metrics/loss')],
  }
  return {name: points for name, points in curves.items() if points}


def _indent(text):
  return '\n'.join('  | ' + line for line in text.splitlines())

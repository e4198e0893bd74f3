"""What a training run on text has come to."""

import math
import os

import gin
import numpy as np

from trax_reformer_ext.data.entropy import entropies
from trax_reformer_ext.data.text import decode, encode
from trax_reformer_ext.decoding import sample
from trax_reformer_ext.training.evaluate import bits_per_dim, eval_model
from trax_reformer_ext.visualize.learning_curve import draw_learning_curve


@gin.configurable(module='trax_reformer_ext')
def report(
  loop,
  inputs,
  prompt_length=128,
  sample_length=256,
  temperature=0.8,
  sample_seed=0,
):
  """Prints a run's held-out figure and sample, and draws its learning curve.

  Args:
    loop: Loop after training on text_inputs.
    inputs: Inputs of text_inputs.
    prompt_length: int, held-out bytes that the sample goes on from.
    sample_length: int, bytes to sample; 0 for no sample.
    temperature: float, of the sample.
    sample_seed: int.
  """
  held_out = inputs.text.splits['validation']
  # Not loop.eval_model: Trax's memory-efficient trainer evaluates in training
  # mode.
  model = eval_model(loop.tasks[0].sample_batch)
  model.weights = loop.model.weights
  bits = bits_per_dim(
    model, inputs.split_batches('validation'), label='held-out bytes'
  )
  order_0, order_1 = entropies(held_out)
  print(
    f'\nHeld-out bytes ({len(held_out):,}, the split validation):\n'
    f'  this model       {bits:.3f} bits/byte\n'
    f'  order-1 entropy  {order_1:.3f} bits/byte\n'
    f'  order-0 entropy  {order_0:.3f} bits/byte'
  )
  if sample_length:
    prompt = held_out[:prompt_length]
    ids = sample(model, encode(prompt), sample_length, temperature, sample_seed)
    print(
      f'\nA sample at temperature {temperature}, after {len(prompt)} held-out '
      f'bytes that end in {decode(encode(prompt))[-32:]!r}:\n'
      f'{_indent(decode(np.asarray(ids)))}'
    )
  if loop.output_dir is not None:
    path = os.path.join(loop.output_dir, 'learning_curve.png')
    draw_learning_curve(
      path,
      _curves(loop),
      {'order-1 entropy': order_1, 'order-0 entropy': order_0},
    )
    print(f'\nLearning curve: {path}')


def _curves(loop):
  """Training and held-out bits per byte by step, from the loop's history."""
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

"""What a training run has come to."""

import itertools
import os

import gin
import numpy as np
from trax import layers as tl

from trax_reformer_ext.data.entropy import entropies
from trax_reformer_ext.data.text import TextInputs
from trax_reformer_ext.data.vocabulary import UNKNOWN
from trax_reformer_ext.training import translation
from trax_reformer_ext.training.continuation import continue_text
from trax_reformer_ext.training.contribution import measure_ablated
from trax_reformer_ext.training.curves import curves_of
from trax_reformer_ext.training.evaluate import eval_model, measure
from trax_reformer_ext.training.predict import can_predict
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
  n_translations=4,
  ablate_lsh=False,
):
  """Prints a run's held-out figure and draws its learning curve.

  For text also the entropies of its bytes, which are to beat, and a sample;
  for pairs of sentences some translations.

  Args:
    loop: Loop after training on inputs.
    inputs: TokenInputs or TranslationInputs.
    prompt_length: int, held-out tokens that the sample goes on from.
    sample_length: int, tokens to sample; 0 for no sample.
    temperature: float, of the sample.
    sample_seed: int.
    n_batches: int, evaluation batches of the split validation to measure;
      None for all.
    n_translations: int, held-out sentences to translate.
    ablate_lsh: bool, print also what the model comes to without the work of
      its LSH layers (LSHSelfAttention.ablation).
  """
  text = inputs.text('validation') if isinstance(inputs, TextInputs) else None
  subwords = text is not None and inputs.vocabulary is not None
  pairs = translation.is_translation(inputs)
  what, unit, of_what = 'tokens', 'bits/dim', ''
  if subwords:
    unit = 'bits/token'
  elif text is not None:
    what, unit = 'bytes', 'bits/byte'
  elif pairs:
    what, unit, of_what = 'target tokens', 'bits/token', 'pairs '
  # Not loop.eval_model: Trax's memory-efficient trainer evaluates in training
  # mode.
  model = eval_model(loop.tasks[0].sample_batch)
  model.weights = loop.model.weights
  batches = inputs.split_batches('validation')
  figures = measure(
    model, itertools.islice(batches, n_batches), label=f'held-out {what}'
  )
  part = f'{n_batches} batches at most of' if n_batches else 'the split'
  n = len(inputs.splits['validation'])
  print(
    f'\nHeld-out {what} ({part} validation, {n:,} {of_what}in all):\n'
    f'  this model       {figures.bits_per_dim:.3f} {unit}, '
    f'accuracy {figures.accuracy:.4f}'
  )
  if subwords:
    _print_bits_per_byte(figures.bits_per_dim, inputs, n_batches)
  if ablate_lsh:
    print_ablated(
      measure_ablated(
        lambda model: setattr(model, 'weights', loop.model.weights),
        lambda: itertools.islice(inputs.split_batches('validation'), n_batches),
      ),
      unit,
    )
  levels = {}
  if text is not None:
    order_0, order_1 = entropies(text)
    levels = {'order-1 entropy': order_1, 'order-0 entropy': order_0}
    for name, value in levels.items():
      print(f'  {name}  {value:.3f} bits/byte')
    if sample_length and can_predict():
      prompt = inputs.splits['validation'].read(0, n)[:prompt_length]
      pieces = continue_text(
        _weights(loop),
        loop.output_dir,
        prompt,
        sample_length,
        inputs.vocabulary,
        temperature=temperature,
        seed=sample_seed,
      )
      end = inputs.to_bytes(prompt).tobytes()
      shown = end.decode('utf-8', errors='replace')[-32:]
      print(
        f'\nA sample at temperature {temperature}, after {len(prompt)} '
        f'held-out {what} that end in {shown!r}:\n{_indent("".join(pieces))}'
      )
  if pairs and n_translations and can_predict():
    _print_translations(loop, inputs, n_translations)
  if loop.output_dir is not None:
    path = os.path.join(loop.output_dir, 'learning_curve.png')
    # The curve of tokens is not one of bytes.
    levels = {} if subwords else levels
    curves = curves_of(loop.history)
    draw_learning_curve(path, curves, levels, unit.replace('/', ' per '))
    print(f'\nLearning curve: {path}')


def print_ablated(results, unit='bits/dim', before='  '):
  """Prints the figures of measure_ablated, each line after some words."""
  for name, figures in results.items():
    print(
      f'{before}LSH {name.replace("_", " ")}: {figures.bits_per_dim:.4f} '
      f'{unit}, accuracy {figures.accuracy:.4f}'
    )


def _print_bits_per_byte(bits_per_token, inputs, n_batches):
  """Prints what the measured tokens come to by the bytes they stand for."""
  batches = itertools.islice(inputs.split_batches('validation'), n_batches)
  ids = np.concatenate([ids[weights > 0] for ids, _, weights in batches])
  ratio = len(inputs.to_bytes(ids)) / len(ids)
  n_unknown = np.count_nonzero(ids == UNKNOWN)
  note = f', {n_unknown:,} tokens unknown' if n_unknown else ''
  print(
    f'                   {bits_per_token / ratio:.3f} bits/byte, with '
    f'{ratio:.3f} bytes a token{note}'
  )


def _print_translations(loop, inputs, n):
  """Prints the first held-out sentences and their translations."""
  pairs = list(itertools.islice(inputs.pairs('validation'), n))
  sources = [source for source, _ in pairs]
  translated = translation.translate(
    sources, inputs, _weights(loop), loop.output_dir
  )
  print(f'\nTranslations of the first {len(pairs)} held-out sentences:')
  for (source, target), output in zip(pairs, translated, strict=True):
    print(f'\n  source     {source}')
    print(f'  reference  {target}')
    print(f'  output     {output}')


def _weights(loop):
  """The weights as a flat list, as in a checkpoint."""
  return tl.flatten_weights_and_state(loop.model.weights, ())[0]


def _indent(text):
  return '\n'.join('  | ' + line for line in text.splitlines())

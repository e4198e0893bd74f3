"""Translations of a run, and their BLEU."""

import sys
from typing import NamedTuple

import tqdm

from trax_reformer_ext.decoding import longest_sequence, translate_lines
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.training import run_dir
from trax_reformer_ext.training.checks import find_vocab_sizes
from trax_reformer_ext.training.evaluate import (
  configured_inputs,
  load_weights,
)
from trax_reformer_ext.training.predict import predict_model

# Tables are padded to a multiple of this at most, for the hardware.
_ROUNDING = 128


class Bleu(NamedTuple):
  """How close translations come to their references.

  Attributes:
    score: float in [0, 100].
    n_sentences: int.
    signature: str, sacrebleu's, of what exactly was measured.
  """

  score: float
  n_sentences: int
  signature: str


def is_translation(inputs):
  """Whether inputs are pairs of sentences with a vocabulary."""
  return hasattr(inputs, 'vocabulary') and hasattr(inputs, 'pairs')


def translate(lines, inputs, stored, folder, *, max_length=None, **options):
  """Translates lines with the configured model.

  Args:
    lines: list of str.
    inputs: TranslationInputs that the model was trained on.
    stored: list of arrays, the weights as run_dir.read_weights has them.
    folder: str, output directory of the run.
    max_length: int, tokens in the longest source and translation, up to what
      the model takes; None for what it was trained on.
    **options: of decoding.translate_lines.

  Returns:
    List of str.

  Raises:
    ReformerError: a model that can't translate or is for another vocabulary,
      and as translate_lines.
  """

  def make_model(length):
    model = predict_model(length)
    load_weights(model, stored, folder)
    return model

  model = predict_model(1, initialise=False)
  if model.n_in != 2:
    raise ReformerError(
      'train.model is no encoder-decoder: translation needs '
      'trax_reformer_ext.Reformer'
    )
  _check_vocabulary(inputs.vocabulary, model)
  longest = longest_sequence(model) or max_length or inputs.max_length
  if max_length is None:
    max_length = min(inputs.max_length, longest)
  if not 1 <= max_length <= longest:
    raise ReformerError(
      f'max_length is {max_length}: give an int in [1, {longest}], which is '
      'what the model takes'
    )
  # None: a bar only where the output is a terminal.
  with tqdm.tqdm(
    total=len(lines), desc='translating', unit='line', leave=False, disable=None
  ) as bar:
    return translate_lines(
      make_model,
      inputs.vocabulary,
      lines,
      max_length=max_length,
      progress=bar.update,
      warn=lambda message: bar.write(message, file=sys.stderr),
      **options,
    )


def translate_by_run(folder, lines, **options):
  """Translates lines with the run in a folder, as gin is configured now.

  Args:
    folder: str, output directory of a run.
    lines: list of str.
    **options: of translate.

  Returns:
    List of str.

  Raises:
    ReformerError: no run there or not one of translation, and as translate.
  """
  inputs = _inputs_of_run(folder)
  stored = run_dir.read_weights(folder)
  return translate(lines, inputs, stored, folder, **options)


def bleu_of_run(folder, split='validation', **options):
  """BLEU of a run's translations of a whole split.

  Cased, on detokenised text, by sacrebleu with its tokenisation 13a.

  Args:
    folder: str, output directory of a translation run.
    split: str, 'train', 'validation' or 'test'.
    **options: of translate.

  Returns:
    Bleu.

  Raises:
    ReformerError: as translate_by_run, or a split that is not there.
  """
  # Imported here, as a run on other data does not need it.
  from sacrebleu.metrics import BLEU

  inputs = _inputs_of_run(folder)
  pairs = list(inputs.pairs(split))
  stored = run_dir.read_weights(folder)
  sources = [source for source, _ in pairs]
  translated = translate(sources, inputs, stored, folder, **options)
  metric = BLEU()
  score = metric.corpus_score(translated, [[target for _, target in pairs]])
  return Bleu(score.score, len(pairs), str(metric.get_signature()))


def _inputs_of_run(folder):
  """The configured inputs, which must be pairs of sentences."""
  inputs = configured_inputs()
  if not is_translation(inputs):
    raise ReformerError(
      f'--output_dir is {str(folder)!r}, which is no translation run: give a '
      'run that was trained on trax_reformer_ext.translation_inputs'
    )
  return inputs


def _check_vocabulary(vocabulary, model):
  """Refuses a vocabulary that is not the one the model was trained with."""
  for name, size in find_vocab_sizes(model):
    rounded = -(-vocabulary.size // _ROUNDING) * _ROUNDING
    if not vocabulary.size <= size <= rounded:
      raise ReformerError(
        f'{name} is {size}, but the vocabulary has {vocabulary.size} ids '
        f'({vocabulary.path}): use the data that the run was trained on, by '
        f'--data_dir, or a run with {name} = {vocabulary.size}'
      )

"""Texts continued by the model of a run."""

import codecs
import inspect

import gin
import numpy as np

from trax_reformer_ext.data.text import text_inputs
from trax_reformer_ext.data.tokens import encode, to_bytes
from trax_reformer_ext.data.vocabulary import END, PAD, UNKNOWN
from trax_reformer_ext.decoding import Generator, longest_sequence
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.training import run_dir
from trax_reformer_ext.training.checks import find_vocab_sizes
from trax_reformer_ext.training.configs import configured
from trax_reformer_ext.training.evaluate import configured_inputs, load_weights
from trax_reformer_ext.training.predict import predict_model


def is_run_on(inputs):
  """Whether the configured run has these inputs, such as text_inputs."""
  own = configured('inputs')
  return inspect.unwrap(own) is inspect.unwrap(inputs)


def continue_text(
  stored, folder, prompt, length, vocabulary=None, *, seed=0, **sampling
):
  """Yields the text that a model adds to a prompt, as it is generated.

  Args:
    stored: list of arrays, the weights as run_dir.read_weights has them.
    folder: str, output directory of the run.
    prompt: ints, ids of the tokens to go on from.
    length: int, tokens to add.
    vocabulary: TextVocabulary of the tokens; None for bytes.
    seed: int.
    **sampling: temperature, top_k and top_p, as of decoding.Generator.

  Yields:
    str, together what all ids that were added stand for; bytes that are no
      UTF-8 are replaced.

  Raises:
    ReformerError: weights of another model, more tokens than the model takes,
      or as Generator.
  """
  if length < 1:
    raise ReformerError(f'length is {length}: give an int of at least 1')
  needed = len(prompt) + length
  if vocabulary is not None:
    sampling['excluded'] = (PAD, END, UNKNOWN)
  generator = open_generator(stored, folder, needed, **sampling)
  added = (ids for (ids,) in generator.generate([prompt], length, seed))
  if vocabulary is None:
    yield from _decode_bytes(added)
  else:
    yield from map(vocabulary.decode, added)


def open_generator(stored, folder, length, **options):
  """Makes a Generator of the configured model with the weights of a run.

  Args:
    stored: list of arrays, the weights as run_dir.read_weights has them.
    folder: str, output directory of the run.
    length: int, tokens of prompt and continuation together; the caches hold
      the next power of two, so that few programs are compiled.
    **options: of Generator.
  """
  size = 1 << max(0, length - 1).bit_length()
  longest = longest_sequence(predict_model(1, initialise=False))
  if longest is not None:
    size = min(size, longest)
  model = predict_model(size)
  load_weights(model, stored, folder)
  return Generator(model, longest=size, **options)


def continue_by_run(folder, prompt, length, **options):
  """As continue_text, with the last checkpoint of the run in a folder.

  Where the run is on subwords, their data is opened for its vocabulary.

  Args:
    folder: str, output directory of the run.
    prompt: bytes.
    length: int, tokens to add.
    **options: as of continue_text.

  Returns:
    The generator of continue_text.

  Raises:
    ReformerError: no run there or not one of text, a prompt that is not UTF-8
      for a vocabulary, or another one than that of the run.
  """
  stored, ids, vocabulary = open_run(folder, prompt)
  return continue_text(stored, folder, ids, length, vocabulary, **options)


def open_run(folder, text):
  """The weights of the last checkpoint of a run, and a text as its tokens.

  Args:
    folder: str, output directory of the run.
    text: bytes.

  Returns:
    (list of arrays, int32 [n_tokens], TextVocabulary or None for bytes).

  Raises:
    ReformerError: as continue_by_run.
  """
  if not is_run_on(text_inputs):
    raise ReformerError(
      f'--output_dir is {str(folder)!r}, which is no run on text: give one '
      'that was trained on trax_reformer_ext.text_inputs'
    )
  stored = run_dir.read_weights(folder)
  vocabulary = _vocabulary_of_run()
  if vocabulary is None:
    ids = encode(np.frombuffer(text, np.uint8))
  else:
    ids = vocabulary.encode(_to_text(text, vocabulary))
  return stored, ids, vocabulary


def _decode_bytes(added):
  """Yields the text of bytes' ids, some of which end within a character."""
  decoder = codecs.getincrementaldecoder('utf-8')(errors='replace')
  for ids in added:
    yield decoder.decode(to_bytes(ids).tobytes())
  yield decoder.decode(b'', final=True)


def _vocabulary_of_run():
  """The TextVocabulary of the configured run; None for bytes.

  The data of a run on bytes is not opened, and need not be there.
  """
  bindings = gin.get_bindings('trax_reformer_ext.text_inputs')
  if bindings.get('dataset_name') != 'subwords':
    return None
  vocabulary = configured_inputs().vocabulary
  model = predict_model(1, initialise=False)
  for name, size in find_vocab_sizes(model):
    if size < vocabulary.size:
      raise ReformerError(
        f'{name} is {size}, but the vocabulary has {vocabulary.size} ids '
        f'({vocabulary.path}): use the data that the run was trained on, by '
        '--data_dir'
      )
  return vocabulary


def _to_text(prompt, vocabulary):
  try:
    return prompt.decode()
  except UnicodeDecodeError as e:
    raise ReformerError(
      f'prompt is not UTF-8 at byte {e.start:,} (0x{prompt[e.start]:02x}), but '
      f'the run is on text, with {vocabulary.path}: convert it to UTF-8'
    ) from e

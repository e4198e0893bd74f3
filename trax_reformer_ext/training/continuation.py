"""Texts continued by the model of a run."""

import codecs
import inspect

import numpy as np

from trax_reformer_ext.data.text import text_inputs
from trax_reformer_ext.data.tokens import encode, to_bytes
from trax_reformer_ext.decoding import Generator, longest_sequence
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.training import run_dir
from trax_reformer_ext.training.configs import configured
from trax_reformer_ext.training.evaluate import load_weights
from trax_reformer_ext.training.predict import predict_model


def is_run_on(inputs):
  """Whether the configured run has these inputs, such as text_inputs."""
  own = configured('inputs')
  return inspect.unwrap(own) is inspect.unwrap(inputs)


def continue_text(stored, folder, prompt, length, *, seed=0, **sampling):
  """Yields the text that a model adds to a prompt, as it is generated.

  Args:
    stored: list of arrays, the weights as run_dir.read_weights has them.
    folder: str, output directory of the run.
    prompt: bytes.
    length: int, bytes to add.
    seed: int.
    **sampling: temperature, top_k and top_p, as of decoding.Generator.

  Yields:
    str; bytes that are no UTF-8 are replaced.

  Raises:
    ReformerError: weights of another model, more bytes than the model takes, or
      as Generator.
  """
  if length < 1:
    raise ReformerError(f'length is {length}: give an int of at least 1')
  needed = len(prompt) + length
  generator = open_generator(stored, folder, needed, **sampling)
  decoder = codecs.getincrementaldecoder('utf-8')(errors='replace')
  ids = encode(np.frombuffer(prompt, np.uint8))
  for piece in generator.generate([ids], length, seed):
    yield decoder.decode(to_bytes(piece[0]).tobytes())
  yield decoder.decode(b'', final=True)


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

  Raises:
    ReformerError: no run there or not one of text, and as continue_text.
  """
  if not is_run_on(text_inputs):
    raise ReformerError(
      f'--output_dir is {str(folder)!r}, which is no run on text: give one '
      'that was trained on trax_reformer_ext.text_inputs'
    )
  stored = run_dir.read_weights(folder)
  yield from continue_text(stored, folder, prompt, length, **options)

"""What the LSH attention of a run's model makes of a text."""

import numpy as np
from trax import layers as tl

from trax_reformer_ext.data.tokens import FIRST_BYTE, to_bytes
from trax_reformer_ext.data.vocabulary import PAD
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.layers import LSHSelfAttention, inputs_of
from trax_reformer_ext.training.continuation import open_run
from trax_reformer_ext.training.evaluate import eval_model, load_weights

_START = '▷'
_SHOWN = {' ': '␣', '\n': '⏎', '\t': '⇥'}


def hashed_by_run(folder, text, layer=None):
  """Queries, values and buckets of an LSH layer of a run on text.

  Args:
    folder: str, output directory of the run, as gin is configured now.
    text: bytes, which the model sees after its start token.
    layer: int, which of the model's LSH layers; None for the last.

  Returns:
    (Hashed, list of str: what each position sees).

  Raises:
    ReformerError: no run on text there, or no such layer.
  """
  stored, ids, vocabulary = open_run(folder, text)
  # The model shifts them: the one at the end would be to predict.
  ids = np.append(ids, PAD).astype(np.int32)[None]
  model = eval_model((ids,))
  load_weights(model, stored, folder)
  found = inputs_of((LSHSelfAttention, tl.Embedding), model, ids)
  seen = next(x for layer, (x,) in found if isinstance(layer, tl.Embedding))
  layers = [x for x in found if isinstance(x[0], LSHSelfAttention)]
  if not layers:
    raise ReformerError(
      f'--output_dir is {str(folder)!r}, whose model has no LSHSelfAttention: '
      'give a run with such layers'
    )
  last = len(layers) - 1
  layer = last if layer is None else layer
  if not 0 <= layer <= last:
    raise ReformerError(
      f'--layer is {layer}: give an int from 0 to {last}, for one of the '
      "model's LSH layers"
    )
  attention, inputs = layers[layer]
  return attention.hashed(inputs), labels_of(np.asarray(seen[0]), vocabulary)


def labels_of(ids, vocabulary=None):
  """A short text for each token, in which spaces and line ends are seen.

  Args:
    ids: ints [n_tokens].
    vocabulary: TextVocabulary; None for bytes.

  Returns:
    List of str; bytes that are no ASCII character are '·'.
  """
  return [_label(int(i), vocabulary) for i in ids]


def _label(i, vocabulary):
  if i == PAD:
    return _START
  if vocabulary is not None:
    text = vocabulary.decode([i])
  elif i < FIRST_BYTE:
    text = ''
  else:
    text = to_bytes([i]).tobytes().decode('ascii', errors='replace')
  text = ''.join(_SHOWN.get(c, c if _is_shown(c) else '·') for c in text)
  return text or '·'


def _is_shown(c):
  return c.isprintable() and c != '\ufffd'

"""Translation of sentences, and of lines of text in batches of few shapes."""

import itertools
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
from trax import layers as tl

from trax_reformer_ext.decoding.beam_search import beam_search
from trax_reformer_ext.decoding.outputs import logits_at
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.layers import AxialPositionalEncoding, PerSource

EOS_ID = 1
_SHORTEST_BUCKET = 16


def translator(
  model,
  *,
  max_length,
  beam_size=4,
  length_penalty=0.6,
  n_ids=None,
):
  """Returns a function that translates batches of sentences.

  The source is encoded once a sentence, and each further token costs one step
  of the decoder, all in one compiled program for each shape.

  Args:
    model: initialised Reformer in mode 'predict': maps (source int32 [rows,
      n_source], tokens int32 [rows, 1]) to logits, with caches in its state
      that are empty before the first call.
    max_length: int, tokens in the longest translation, the end included.
    beam_size: int; 1 for greedy decoding.
    length_penalty: float, as of beam_search.
    n_ids: int, size of the vocabulary where the model has logits for more; None
      for all.

  Returns:
    A function from (source int32 [n, n_source] with padding 0, limits int32
    [n], tokens in the longest translation of each sentence) to (ids int32 [n,
    max_length] with zeros after the end 1, scores float32 [n]).
  """
  rng = jax.random.PRNGKey(0)

  @jax.jit
  def run(weights, state, source, limits):
    n_sentences = source.shape[0]

    def step(tokens, state):
      rows = jnp.repeat(source, tokens.shape[0] // n_sentences, axis=0)
      outputs, state = model.pure_fn((rows, tokens), weights, state, rng)
      logits = logits_at(outputs, 0)
      if n_ids is not None:
        logits = logits[:, :n_ids]
      return logits, state

    ids, scores = beam_search(
      step,
      state,
      n_sentences=n_sentences,
      beam_size=beam_size,
      max_length=max_length,
      length_penalty=length_penalty,
      limits=limits,
      is_shared=lambda subtree: isinstance(subtree, PerSource),
    )
    return ids[:, 0], scores[:, 0]

  return lambda source, limits: run(model.weights, model.state, source, limits)


def translate_lines(
  make_model,
  vocabulary,
  lines,
  *,
  max_length,
  beam_size=4,
  length_penalty=0.6,
  max_extra=50,
  batch_tokens=2048,
  too_long='cut',
  progress=lambda n_lines: None,
  warn=lambda message: print(message, file=sys.stderr),
):
  """Translates lines of text.

  Lines of similar length are translated together, padded to one of few
  lengths, so that few programs are compiled.

  Args:
    make_model: function from an int to an initialised model as translator takes
      it, whose caches hold that many tokens.
    vocabulary: has encode(list of str) -> list of lists of ids that end in 1,
      decode(ids) -> str, and size, the number of its ids.
    lines: list of str, without line ends. Blank ones stay empty.
    max_length: int, tokens in the longest source, and in the longest
      translation.
    beam_size: int.
    length_penalty: float, as of beam_search.
    max_extra: int, tokens by which a translation may be longer than its source.
    batch_tokens: int, tokens of the source in a batch, padding included; a
      batch has one sentence at least.
    too_long: 'cut', which warns, or 'stop': what becomes of lines with more
      than max_length tokens.
    progress: function, called with the number of lines done since the last
      call.
    warn: function of a message in one line.

  Returns:
    List of str, the translations in the order of the lines.

  Raises:
    ReformerError: a parameter, a line that is too long, or a model whose scores
      are not finite.
  """
  _check(beam_size, length_penalty, max_extra, batch_tokens, too_long)
  sources = encode_lines(vocabulary, lines, max_length, too_long, warn)
  translated = [''] * len(lines)
  progress(len(lines) - len(sources))
  lengths = {i: len(ids) for i, ids in sources.items()}
  plan = _plan(lengths, max_length, batch_tokens)
  for length, batches in itertools.groupby(plan, key=lambda batch: batch[0]):
    longest = min(length + max_extra, max_length)
    run = translator(
      make_model(longest),
      max_length=longest,
      beam_size=beam_size,
      length_penalty=length_penalty,
      n_ids=vocabulary.size,
    )
    for _, n_rows, members in batches:
      source, limits = _pad([sources[i] for i in members], n_rows, length)
      ids, scores = run(source, limits + max_extra)
      if not np.isfinite(scores[: len(members)]).all():
        raise ReformerError(
          'the scores of the model are not finite, so that its weights hold '
          'NaN or infinities: use a checkpoint of before training diverged'
        )
      for i, row in zip(members, np.asarray(ids), strict=False):
        translated[i] = _text(vocabulary, row)
      progress(len(members))
  return translated


def encode_lines(vocabulary, lines, max_length, too_long='cut', warn=None):
  """Returns a dict from the numbers of lines that are not blank to their ids.

  Arguments and errors as of translate_lines.
  """
  kept = [i for i, line in enumerate(lines) if line.strip()]
  encoded = vocabulary.encode([lines[i] for i in kept])
  sources = dict(zip(kept, encoded, strict=True))
  long = [i for i in kept if len(sources[i]) > max_length]
  if long and too_long == 'stop':
    raise ReformerError(
      f'line {long[0] + 1} has {len(sources[long[0]])} tokens, but max_length '
      f"is {max_length}: split the line, or use --too_long='cut'"
    )
  for i in long:
    sources[i] = [*sources[i][: max_length - 1], EOS_ID]
  if long:
    numbers = ', '.join(str(i + 1) for i in long[:5])
    warn(
      f'warning: {len(long)} of {len(lines)} lines have more than {max_length} '
      f'tokens and were cut: line {numbers}{", ..." if long[5:] else ""}'
    )
  return sources


def longest_sequence(model):
  """How many positions a model has, by its positional encodings; or None."""
  found = [longest_sequence(sublayer) for sublayer in model.sublayers]
  if isinstance(model, tl.PositionalEncoding):
    found.append(model._max_len)
  elif isinstance(model, AxialPositionalEncoding):
    found.append(math.prod(model._shape))
  return min((n for n in found if n is not None), default=None)


def _plan(lengths, max_length, batch_tokens):
  """Yields batches as (length, rows, members), longest first.

  Args:
    lengths: dict from a sentence to its tokens.
    max_length: int, of which no length is more.
    batch_tokens: int, rows * length at most, where a row allows it.
  """
  bucket = lambda i: min(
    _power_of_two(lengths[i], _SHORTEST_BUCKET), max_length
  )
  order = sorted(lengths, key=lengths.get, reverse=True)
  for length, members in itertools.groupby(order, key=bucket):
    n = max(1, batch_tokens // length)
    members = list(members)
    for start in range(0, len(members), n):
      part = members[start : start + n]
      yield length, min(n, _power_of_two(len(part))), part


def _power_of_two(n, least=1):
  return max(least, 1 << (n - 1).bit_length())


def _pad(sources, n_rows, length):
  """(source int32 [n_rows, length], lengths int32 [n_rows]) of id lists."""
  source = np.zeros((n_rows, length), np.int32)
  source[:, 0] = EOS_ID  # of rows that stand for nothing
  for row, ids in zip(source, sources, strict=False):
    row[: len(ids)] = ids
  return source, np.count_nonzero(source, axis=1).astype(np.int32)


def _text(vocabulary, ids):
  """One line of text of ids up to the end."""
  ends = np.flatnonzero((ids == EOS_ID) | (ids == 0))
  ids = ids[: ends[0]] if ends.size else ids
  return ' '.join(vocabulary.decode(ids.tolist()).splitlines())


def _check(beam_size, length_penalty, max_extra, batch_tokens, too_long):
  for name, value, least in (
    ('beam_size', beam_size, 1),
    ('max_extra', max_extra, 0),
    ('batch_tokens', batch_tokens, 1),
  ):
    if value < least:
      raise ReformerError(f'{name} is {value}: give an int of at least {least}')
  if not length_penalty >= 0:
    raise ReformerError(
      f'length_penalty is {length_penalty}: give a float of at least 0'
    )
  if too_long not in ('cut', 'stop'):
    raise ReformerError(f"too_long is {too_long!r}: give 'cut' or 'stop'")

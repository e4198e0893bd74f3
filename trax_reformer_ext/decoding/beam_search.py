"""Beam search over any one-token step, in one compiled loop."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trax_reformer_ext.errors import ReformerError


class _Search(NamedTuple):
  """What is known after `length` tokens.

  Attributes:
    length: int32 [], tokens in every live hypothesis.
    live: int32 [n_sentences, beam_size, max_length], zeros after length.
    live_scores: float32 [n_sentences, beam_size], log-probabilities; -inf for
      an empty place. A sentence with empty places alone is done.
    finished: int32 [n_sentences, n_best, max_length], best first.
    finished_scores: float32 [n_sentences, n_best], divided by the length
      penalty; -inf for an empty place.
    state: of the step, with one row a live hypothesis.
  """

  length: jax.Array
  live: jax.Array
  live_scores: jax.Array
  finished: jax.Array
  finished_scores: jax.Array
  state: Any


def beam_search(
  step,
  state,
  *,
  n_sentences,
  beam_size,
  max_length,
  length_penalty=0.6,
  limits=None,
  n_best=1,
  start_id=0,
  eos_id=1,
  excluded=(0,),
  is_shared=lambda subtree: False,
):
  """Finds the likeliest sequences of a model that is called token by token.

  A hypothesis of n tokens, its end included, with the log-probability p scores
  p / ((5 + n) / 6) ** length_penalty (Wu et al. 2016, arXiv 1609.08144,
  eq. 14). Each step keeps the beam_size likeliest continuations of all live
  hypotheses; those that end among them leave the beam, so that a beam of 1 is
  greedy decoding. A live one that can't score above the n_best finished ones
  any more is dropped, and the search ends when none is left. Where no
  hypothesis has ended at the limit, the cut ones stand for them.

  Can be compiled by jax.jit; all arguments but state and limits are static.

  Args:
    step: function from (tokens int32 [rows, 1], state) to (logits [rows,
      vocab_size], state). The first call has a row a sentence and the given
      state, and may return a state of another structure; in all others rows is
      n_sentences * beam_size, and the structure is kept.
    state: of the first call.
    n_sentences: int.
    beam_size: int, live hypotheses of a sentence.
    max_length: int, tokens in the longest result.
    length_penalty: float >= 0; 0 for none.
    limits: int32 [n_sentences] in [1, max_length], tokens in the longest
      result of each sentence; None for max_length.
    n_best: int, results of a sentence.
    start_id: int, the token before the first one.
    eos_id: int, the token that ends a sequence.
    excluded: ids that are never generated (padding).
    is_shared: function from a subtree of the state that the first call
      returns, whether it is the same for all hypotheses of a sentence. Every
      other leaf has no axes, or rows as its first, and follows its hypothesis.

  Returns:
    Tuple (tokens int32 [n_sentences, n_best, max_length] with zeros after the
    end, scores float32 [n_sentences, n_best]), best first; the score of a
    result that was not found is -inf.

  Raises:
    ReformerError: a size below 1, or a negative length penalty.
  """
  _check(beam_size, n_best, max_length, length_penalty)
  if limits is None:
    limits = jnp.full(n_sentences, max_length)
  limits = jnp.clip(jnp.asarray(limits, jnp.int32), 1, max_length)
  bound_penalty = _penalty(limits, length_penalty)[:, None]
  excluded = jnp.asarray(excluded, jnp.int32)
  first_row = jnp.arange(n_sentences)[:, None] * beam_size

  def extend(search, logits):
    """Adds a token, whose logits are [n_sentences * beam_size, vocab_size]."""
    length = search.length + 1
    logits = logits.astype(jnp.float32).at[:, excluded].set(-jnp.inf)
    vocab_size = logits.shape[-1]
    scores = search.live_scores.reshape(-1, 1) + jax.nn.log_softmax(logits)
    scores, chosen = jax.lax.top_k(scores.reshape(n_sentences, -1), beam_size)
    beams, tokens = jnp.divmod(chosen, vocab_size)
    live = jnp.take_along_axis(search.live, beams[..., None], axis=1)
    live = live.at[:, :, search.length].set(tokens)

    ends = tokens == eos_id
    at_limit = (length >= limits)[:, None]
    any_finished = (search.finished_scores[:, :1] > -jnp.inf) | jnp.any(
      ends & (scores > -jnp.inf), axis=1, keepdims=True
    )
    counts = ends | (at_limit & ~any_finished)
    final = scores / _penalty(length, length_penalty)
    finished, finished_scores = _best(
      (search.finished, live),
      (search.finished_scores, jnp.where(counts, final, -jnp.inf)),
      n_best,
    )
    # Scores only fall, and no penalty is larger than that of the limit.
    hopeless = scores / bound_penalty <= finished_scores[:, -1:]
    scores = jnp.where(ends | at_limit | hopeless, -jnp.inf, scores)
    state = search.state
    if beam_size > 1:
      state = _take_rows(state, (first_row + beams).reshape(-1), is_shared)
    return _Search(length, live, scores, finished, finished_scores, state)

  def body(search):
    tokens = search.live[:, :, search.length - 1].reshape(-1, 1)
    logits, state = step(tokens, search.state)
    return extend(search._replace(state=state), logits)

  start = jnp.full((n_sentences, 1), start_id, jnp.int32)
  logits, state = step(start, state)
  nothing = lambda n: jnp.zeros((n_sentences, n, max_length), jnp.int32)
  no_score = lambda n: jnp.full((n_sentences, n), -jnp.inf)
  search = _Search(
    jnp.zeros((), jnp.int32),
    nothing(beam_size),
    no_score(beam_size).at[:, 0].set(0.0),
    nothing(n_best),
    no_score(n_best),
    _repeat_rows(state, beam_size),
  )
  search = extend(search, jnp.repeat(logits, beam_size, axis=0))
  is_live = lambda search: jnp.any(search.live_scores > -jnp.inf)
  search = jax.lax.while_loop(is_live, body, search)
  return search.finished, search.finished_scores


def _penalty(length, exponent):
  return ((5.0 + length) / 6.0) ** exponent


def _best(sequences, scores, n):
  """The n best of two sets of sequences [n_sentences, n_i, max_length]."""
  scores, chosen = jax.lax.top_k(jnp.concatenate(scores, axis=1), n)
  sequences = jnp.concatenate(sequences, axis=1)
  return jnp.take_along_axis(sequences, chosen[..., None], axis=1), scores


def _repeat_rows(state, n):
  repeat = lambda x: jnp.repeat(x, n, axis=0) if jnp.ndim(x) else x
  return jax.tree.map(repeat, state)


def _take_rows(state, rows, is_shared):
  take = lambda x: x if is_shared(x) or not jnp.ndim(x) else x[rows]
  return jax.tree.map(take, state, is_leaf=is_shared)


def _check(beam_size, n_best, max_length, length_penalty):
  sizes = dict(beam_size=beam_size, n_best=n_best, max_length=max_length)
  for name, value in sizes.items():
    if value < 1:
      raise ReformerError(f'{name} is {value}: give an int of at least 1')
  if not length_penalty >= 0:
    raise ReformerError(
      f'length_penalty is {length_penalty}: give a float of at least 0'
    )

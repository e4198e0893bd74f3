"""Beam search against greedy decoding and against trying all sequences."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trax_reformer_ext import ReformerError
from trax_reformer_ext.decoding import beam_search

N_SENTENCES, VOCAB_SIZE, MAX_LENGTH = 3, 4, 4


class Toy:
  """A model whose next token depends on the whole prefix, by its state.

  A prefix is summed up in a state float32 [rows, 5]; what the source has to
  say is a second leaf that only the first call makes.
  """

  def __init__(self, seed, vocab_size=VOCAB_SIZE):
    rng = np.random.default_rng(seed)
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
    self.source = normal(N_SENTENCES, 5)
    self.embedding = normal(vocab_size, 5)
    self.mix, self.out = normal(5, 5), 2 * normal(5, vocab_size)
    self.vocab_size = vocab_size

  @property
  def weights(self):
    return self.source, self.embedding, self.mix, self.out

  def log_probabilities(self, sentence, sequence):
    """Of each token of a sequence, as plain numpy; float64."""
    prefix, logs = np.zeros(5), []
    for previous, token in zip((0, *sequence), sequence, strict=False):
      prefix = prefix @ self.mix + self.embedding[previous]
      prefix = np.sin(prefix + self.source[sentence])
      logits = (prefix @ self.out).astype(np.float64)
      logits[0] = -np.inf
      logs.append(logits[token] - np.log(np.sum(np.exp(logits))))
    return logs


def toy_step(weights, tokens, state):
  source, embedding, mix, out = weights
  source = state.get('source', source)
  prefix = jnp.sin(state['prefix'] @ mix + embedding[tokens[:, 0]] + source)
  state = {'prefix': prefix, 'source': source, 'n': state['n'] + 1}
  return prefix @ out, state


def toy_state():
  return {'prefix': jnp.zeros((N_SENTENCES, 5)), 'n': jnp.int32(0)}


@functools.partial(jax.jit, static_argnames=('options',))
def compiled(weights, limits, options):
  step = functools.partial(toy_step, weights)
  return beam_search(step, toy_state(), limits=limits, **dict(options))


def search(model, limits=(MAX_LENGTH,) * N_SENTENCES, **options):
  defaults = dict(n_sentences=N_SENTENCES, beam_size=1, max_length=MAX_LENGTH)
  options = tuple(sorted((defaults | options).items()))
  tokens, scores = compiled(model.weights, np.array(limits), options)
  return np.asarray(tokens), np.asarray(scores)


def greedy(model, sentence, limit):
  sequence = ()
  while len(sequence) < limit and sequence[-1:] != (1,):
    ids = range(1, model.vocab_size)
    last = [model.log_probabilities(sentence, (*sequence, i))[-1] for i in ids]
    sequence += (1 + int(np.argmax(last)),)
  return sequence


def all_finished(vocab_size, limit):
  for n in range(limit):
    for head in itertools.product(range(2, vocab_size), repeat=n):
      yield (*head, 1)


def score(model, sentence, sequence, length_penalty):
  total = sum(model.log_probabilities(sentence, sequence))
  return total / ((5 + len(sequence)) / 6) ** length_penalty


def padded(sequence):
  return [*sequence, *[0] * (MAX_LENGTH - len(sequence))]


@settings(max_examples=15, deadline=None)
@given(
  seed=st.integers(0, 2**32 - 1),
  limits=st.lists(
    st.integers(1, MAX_LENGTH), min_size=N_SENTENCES, max_size=N_SENTENCES
  ),
)
def test_a_beam_of_one_is_greedy(seed, limits):
  model = Toy(seed)
  tokens, _ = search(model, limits=limits)
  for i, limit in enumerate(limits):
    assert tokens[i, 0].tolist() == padded(greedy(model, i, limit))


@settings(max_examples=15, deadline=None)
@given(
  seed=st.integers(0, 2**32 - 1),
  length_penalty=st.sampled_from([0.0, 0.6, 1.5]),
  n_best=st.integers(1, 3),
)
def test_a_wide_beam_finds_the_best_of_all(seed, length_penalty, n_best):
  model = Toy(seed)
  limits = [4, 3, 2]
  tokens, scores = search(
    model,
    beam_size=27,
    length_penalty=length_penalty,
    n_best=n_best,
    limits=limits,
  )
  for i, limit in enumerate(limits):
    ranked = sorted(
      (-score(model, i, sequence, length_penalty), sequence)
      for sequence in all_finished(VOCAB_SIZE, limit)
    )[:n_best]
    np.testing.assert_allclose(
      scores[i], [-value for value, _ in ranked], rtol=1e-4, atol=1e-5
    )
    for found, value in zip(tokens[i], scores[i], strict=True):
      sequence = tuple(int(x) for x in found if x)
      assert found.tolist() == padded(sequence) and sequence[-1] == 1
      want = score(model, i, sequence, length_penalty)
      np.testing.assert_allclose(value, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('beam_size', [2, 3])
def test_a_score_is_that_of_its_sequence(beam_size):
  """States follow their hypotheses through every change of place."""
  for seed in range(10):
    model = Toy(seed, vocab_size=7)
    tokens, scores = search(model, beam_size=beam_size)
    for i in range(N_SENTENCES):
      sequence = tuple(int(x) for x in tokens[i, 0] if x)
      want = score(model, i, sequence, 0.6)
      np.testing.assert_allclose(scores[i, 0], want, rtol=1e-4, atol=1e-5)


def test_what_is_shared_is_not_moved():
  class Shared(tuple):
    """A subtree that the sentence alone decides."""

  moved = []
  jax.tree_util.register_pytree_node(
    Shared, lambda x: (tuple(x), None), lambda _, x: Shared(x)
  )
  toy = functools.partial(toy_step, jax.tree.map(jnp.asarray, Toy(0).weights))

  def step(tokens, state):
    inner = dict(state)
    if 'shared' in inner:
      (inner['source'],) = inner.pop('shared')
    logits, inner = toy(tokens, inner)
    inner['shared'] = Shared([inner.pop('source')])
    return logits, inner

  def is_shared(subtree):
    moved.append(type(subtree))
    return isinstance(subtree, Shared)

  options = dict(
    n_sentences=N_SENTENCES, beam_size=3, max_length=MAX_LENGTH, n_best=2
  )
  tokens, _ = beam_search(step, toy_state(), is_shared=is_shared, **options)
  want, _ = beam_search(toy, toy_state(), **options)
  assert Shared in moved
  np.testing.assert_array_equal(tokens, want)


def test_the_search_stops_when_no_live_one_can_win():
  """A certain end takes one step, however long the results may be."""
  calls = []

  def step(tokens, state):
    jax.debug.callback(lambda: calls.append(1))
    return jnp.array([[0.0, 9, 0, 0]] * tokens.shape[0]), state

  tokens, _ = beam_search(
    step, (), n_sentences=2, beam_size=2, max_length=500, length_penalty=0.0
  )
  jax.effects_barrier()
  assert tokens[:, 0, 0].tolist() == [1, 1] and not tokens[:, 0, 1:].any()
  assert len(calls) < 3


def test_without_an_end_the_cut_hypothesis_is_returned():
  step = lambda tokens, state: (
    jnp.array([[99.0, -99.0, 1.0, 0.0]] * tokens.shape[0]),
    state,
  )
  tokens, scores = beam_search(
    step, (), n_sentences=2, beam_size=2, max_length=5, limits=[5, 2]
  )
  assert tokens[:, 0].tolist() == [[2] * 5, [2, 2, 0, 0, 0]]
  assert np.isfinite(scores).all()


@pytest.mark.parametrize(
  'options,message',
  [
    ({'beam_size': 0}, 'beam_size is 0'),
    ({'length_penalty': -1.0}, 'length_penalty is -1.0'),
    ({'n_best': 0}, 'n_best is 0'),
    ({'max_length': 0}, 'max_length is 0'),
  ],
)
def test_mistakes(options, message):
  with pytest.raises(ReformerError, match=message):
    search(Toy(0), **options)

"""Continuations beside full passes over the sequence so far."""

import collections
import functools

import jax
import numpy as np
import pytest

from tests.models.helpers import init, shaken
from trax_reformer_ext import LSHSelfAttention, ReformerLM, SelfAttention
from trax_reformer_ext.decoding import Generator
from trax_reformer_ext.errors import ReformerError

PROMPTS = [[], [5, 3, 7], [2, 9, 4, 4, 8, 3, 10, 5, 6], [7]]
LENGTH = 20
LONGEST = 40
MODEL = functools.partial(
  ReformerLM,
  vocab_size=13,
  d_model=8,
  d_ff=12,
  n_layers=3,
  n_heads=2,
  d_attention_key=4,
  d_attention_value=4,
  dropout=0.0,
  max_len=LONGEST,
  attention_type=[
    functools.partial(SelfAttention, chunk_len=4, n_chunks_before=1),
    functools.partial(
      LSHSelfAttention,
      chunk_len=4,
      n_hashes=2,
      n_buckets=4,
      strictly_causal=True,
    ),
    SelfAttention,
  ],
  wrap=False,
)


@pytest.fixture(scope='module', params=[0, 4])
def models(request):
  """The model in modes 'predict' and 'eval', with the same weights."""
  cached = MODEL(mode='predict', loss_chunk_size=request.param)
  full = MODEL(mode='eval')
  weights, state = init(full, (1, LONGEST))
  weights = shaken(weights, 0.3)
  _, cached_state = init(cached, (1, 1))
  for model, s in ((full, state), (cached, cached_state)):
    model.weights, model.state = weights, s
  return cached, full


def generate(model, prompts=PROMPTS, length=LENGTH, seed=0, **options):
  generator = Generator(model, longest=LONGEST, piece=8, **options)
  pieces = list(generator.generate(prompts, length, seed))
  return np.concatenate(pieces, axis=1)


def test_greedy_equals_full_passes(models):
  cached, full = models
  run = jax.jit(full.pure_fn)
  actual = generate(cached, temperature=0)
  assert actual.shape == (len(PROMPTS), LENGTH)
  for prompt, row in zip(PROMPTS, actual, strict=True):
    ids = np.zeros((1, LONGEST), np.int32)
    n = len(prompt)
    ids[0, :n] = prompt
    for i in range(n, n + LENGTH):
      logits, _ = run(ids, full.weights, full.state, jax.random.PRNGKey(0))
      logits = np.array(logits[0, i])
      logits[:2] = -np.inf
      ids[0, i] = logits.argmax()
    np.testing.assert_array_equal(row, ids[0, n : n + LENGTH])


def test_the_same_seed_gives_the_same_tokens(models):
  cached, _ = models
  first, again, other = (generate(cached, seed=s) for s in (1, 1, 2))
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()
  assert first.min() >= 2


def test_a_sequence_that_ends_is_followed_by_zeros(models):
  cached, _ = models
  ids = generate(cached, seed=3)
  stop = int(ids[0, 2])
  stopped = generate(cached, seed=3, stop_id=stop)
  for row, expected in zip(stopped, ids, strict=True):
    end = np.flatnonzero(expected == stop)
    n = end[0] + 1 if len(end) else LENGTH
    np.testing.assert_array_equal(row[:n], expected[: len(row)][:n])
    assert not row[n:].any()


def test_more_than_the_model_holds_is_refused(models):
  cached, _ = models
  with pytest.raises(ReformerError, match='length is 32 after a prompt of 9'):
    generate(cached, length=32)


def test_few_programs_are_compiled(models, monkeypatch):
  cached, _ = models
  traced = collections.Counter()

  def count(name):
    run = getattr(Generator, name)

    def run_and_count(*arguments):
      traced[name] += 1
      return run(*arguments)

    monkeypatch.setattr(Generator, name, run_and_count)

  count('_run_prompt')
  count('_run_piece')
  generator = Generator(cached, longest=LONGEST, piece=8)
  for n in (4, 5, 7, 6):
    list(generator.generate([[3] * n], 3 * n))
  assert traced == {'_run_prompt': 1, '_run_piece': 1}


@pytest.mark.parametrize(
  'n_prompts,n_lengths', [(range(32), 1), (range(512, 1024), 4)]
)
def test_prompts_are_padded_to_few_lengths(models, n_prompts, n_lengths):
  generator = Generator(models[0])
  padded = [generator._bucket(n, 1) for n in n_prompts]
  assert len(set(padded)) == n_lengths
  assert all(
    n <= m < max(32, 1.3 * n) for n, m in zip(n_prompts, padded, strict=True)
  )

"""Translation by a model that copies: order, batches, limits and mistakes."""

import jax.numpy as jnp
import numpy as np
import pytest
from trax import layers as tl

from tests.decoding.copying import WORDS, Words, make_copy
from trax_reformer_ext import AxialPositionalEncoding, ReformerError
from trax_reformer_ext.decoding import (
  longest_sequence,
  translate_lines,
  translator,
)


def random_lines(n, longest, seed=0):
  rng = np.random.default_rng(seed)
  lengths = rng.integers(1, longest + 1, n)
  return [' '.join(rng.choice(WORDS[3:], length)) for length in lengths]


@pytest.mark.parametrize('chunked', [False, True])
@pytest.mark.parametrize('beam_size', [1, 3])
def test_translator_copies_within_the_limits(chunked, beam_size):
  calls = []
  model = make_copy(chunked=chunked, calls=calls)
  run = translator(model, max_length=6, beam_size=beam_size, n_ids=len(WORDS))
  calls.clear()
  source = np.array([[5, 6, 1, 0, 0], [7, 8, 9, 10, 1]], np.int32)
  ids, scores = run(source, np.array([3, 6]))
  assert ids.tolist() == [[5, 6, 1, 0, 0, 0], [7, 8, 9, 10, 1, 0]]
  assert np.isfinite(scores).all()
  # The first call has a row a sentence: the source is encoded once.
  assert calls[0] == ((2, 5), (2, 1))
  assert set(calls[1:]) == {((2 * beam_size, 5), (2 * beam_size, 1))}


def test_greedy_translation_is_cut_at_its_limit():
  run = translator(make_copy(), max_length=6, beam_size=1, n_ids=len(WORDS))
  source = np.array([[7, 8, 9, 10, 1]] * 2, np.int32)
  ids, _ = run(source, np.array([3, 2]))
  assert ids.tolist() == [[7, 8, 9, 0, 0, 0], [7, 8, 0, 0, 0, 0]]


def test_lines_keep_their_order_and_blank_ones_stay_empty():
  lines = random_lines(23, 40)
  lines[3] = lines[11] = ''
  lines[12] = ' \t'
  done = []
  translated = translate_lines(
    make_copy,
    Words(),
    lines,
    max_length=50,
    beam_size=2,
    batch_tokens=128,
    progress=done.append,
  )
  assert translated == [line.strip() for line in lines]
  assert sum(done) == len(lines)


def test_few_shapes_are_compiled():
  calls = []
  lines = random_lines(200, 60)
  translate_lines(
    lambda length: make_copy(calls=calls),
    Words(),
    lines,
    max_length=64,
    beam_size=1,
    batch_tokens=256,
  )
  sources = {source for source, _ in calls if source != (1, 4)}
  assert {length for _, length in sources} == {16, 32, 64}
  assert all(rows * length <= 256 for rows, length in sources)
  assert len(sources) <= 6


def test_no_translation_is_longer_than_the_model_takes():
  asked = []

  def make(length):
    asked.append(length)
    return make_copy()

  translate_lines(
    make,
    Words(),
    random_lines(5, 10) + random_lines(5, 30),
    max_length=32,
    max_extra=4,
  )
  assert sorted(set(asked)) == [20, 32]


def test_a_line_that_is_too_long_is_cut_and_said():
  said = []
  lines = ['a b c', 'a b c d e f', '', 'b a']
  translated = translate_lines(
    make_copy, Words(), lines, max_length=4, warn=said.append
  )
  assert translated == ['a b c', 'a b c', '', 'b a']
  assert said == [
    'warning: 1 of 4 lines have more than 4 tokens and were cut: line 2'
  ]


def test_a_line_that_is_too_long_stops():
  with pytest.raises(ReformerError) as e:
    translate_lines(
      make_copy, Words(), ['a', 'a b c d'], max_length=4, too_long='stop'
    )
  assert 'line 2 has 5 tokens, but max_length is 4' in str(e.value)


def test_no_lines():
  assert translate_lines(make_copy, Words(), [], max_length=8) == []


def test_weights_that_are_not_finite():
  def make(length):
    model = make_copy()
    model.weights = jnp.full((), jnp.nan)
    return model

  with pytest.raises(ReformerError, match='scores of the model are not finite'):
    translate_lines(make, Words(), ['a b'], max_length=8)


@pytest.mark.parametrize(
  'name,value',
  [
    ('beam_size', 0),
    ('length_penalty', -0.5),
    ('length_penalty', float('nan')),
    ('max_extra', -1),
    ('batch_tokens', 0),
    ('too_long', 'skip'),
  ],
)
def test_mistakes(name, value):
  with pytest.raises(ReformerError, match=f'{name} is '):
    translate_lines(make_copy, Words(), ['a'], max_length=8, **{name: value})


def test_longest_sequence():
  axial = AxialPositionalEncoding(shape=(4, 8), d_embs=(4, 4))
  model = tl.Serial(tl.Embedding(10, 8), axial, tl.PositionalEncoding(100))
  assert longest_sequence(model) == 32
  assert longest_sequence(tl.Serial(tl.Dense(4))) is None

"""Vocabularies that give a text back as it was."""

import hypothesis
import numpy as np
import pytest
import sentencepiece as spm
from hypothesis import strategies as st

from tests.data import book
from trax_reformer_ext import ReformerError
from trax_reformer_ext.data.text_vocabulary import (
  TextVocabulary,
  train_text_model,
)

TEXT = book.text()
CHARACTERS = sorted({*TEXT, '\n', '\t'})


def train(
  text=TEXT,
  characters=TEXT,
  vocab_size=80,
  model_type='unigram',
  coverage=1,
  max_bytes=10**6,
):
  return train_text_model(
    text, set(characters), vocab_size, model_type, coverage, max_bytes, 'x'
  )


def load(folder, *args, **kwargs):
  path = folder / 'x.model'
  path.write_bytes(train(*args, **kwargs))
  return TextVocabulary(path)


@pytest.fixture(scope='module', params=['unigram', 'bpe'])
def vocabulary(request, tmp_path_factory):
  return load(tmp_path_factory.mktemp('x'), model_type=request.param)


def test_the_text_comes_back(vocabulary):
  ids = vocabulary.encode(TEXT)
  assert ids.dtype == np.int32 and ids.min() > 2 and ids.max() < 80
  assert vocabulary.size == 80 and len(ids) < len(TEXT)
  assert vocabulary.decode(ids) == TEXT
  assert vocabulary.encode('').shape == (0,) and vocabulary.decode([]) == ''


# Of the training text, with more of what vocabularies often change.
_TEXTS = st.text(st.sampled_from([*CHARACTERS, *' \n\t▁\0' * 5]), max_size=60)


@hypothesis.given(text=_TEXTS)
@hypothesis.settings(deadline=None, max_examples=300)
def test_any_text_of_its_characters_comes_back(vocabulary, text):
  ids = vocabulary.encode(text)
  assert vocabulary.decode(ids) == text
  assert not np.isin(ids, [0, 1, 2]).any()


@hypothesis.given(ids=st.lists(st.integers(-3, 90)), cut=st.integers(0, 20))
@hypothesis.settings(deadline=None, max_examples=300)
def test_any_ids_are_decoded_in_pieces_as_at_once(vocabulary, ids, cut):
  pieces = vocabulary.decode(ids[:cut]), vocabulary.decode(ids[cut:])
  assert ''.join(pieces) == vocabulary.decode(ids)
  stand_for_text = [i for i in ids if 2 <= i < 80]
  assert vocabulary.decode(stand_for_text) == vocabulary.decode(ids)


@hypothesis.given(
  text=st.text(
    st.characters(codec='utf-8') | st.sampled_from('\ufdd0▅'), max_size=30
  )
)
@hypothesis.settings(deadline=None, max_examples=300)
def test_any_other_text_loses_what_is_unknown_alone(vocabulary, text):
  """A row of unknown characters is one token."""
  expected = ''
  for character in text:
    known = character in CHARACTERS
    if known or not expected.endswith('\ufffd'):
      expected += character if known else '\ufffd'
  assert vocabulary.decode(vocabulary.encode(text)) == expected


def test_lines_of_any_length_are_learned_from_and_come_back(tmp_path):
  text = ('the dog and the cat ' * 500 + 'Q') * 2
  vocabulary = load(tmp_path, text, text, 26, 'bpe')
  ids = vocabulary.encode(text)
  assert vocabulary.decode(ids) == text
  assert len(ids) < len(text) / 2


def test_characters_that_are_not_learned_from_have_pieces(tmp_path):
  text, others = 'abcabc\nbca\n' * 20, ' 5▁\0▅\uffffé'
  for model_type in ('unigram', 'bpe'):
    vocabulary = load(tmp_path, text, text + others, 16, model_type)
    assert vocabulary.decode(vocabulary.encode(others)) == others


def test_rare_characters_may_be_left_out(tmp_path):
  text = 'the dog and the cat\n' * 100 + 'Ω\n'
  vocabulary = load(tmp_path, text, text, 16, coverage=0.999)
  assert vocabulary.decode(vocabulary.encode('a cat Ω\n')) == 'a cat \ufffd\n'


def test_a_part_of_the_text_may_be_learned_from(tmp_path):
  text = 'the dog\nand cats\n' * 100
  vocabulary = load(tmp_path, text, text, 20, 'bpe', max_bytes=len(text) // 2)
  assert len(vocabulary.encode('the dog')) < 4
  assert len(vocabulary.encode('and cats')) == len('and cats')
  assert vocabulary.decode(vocabulary.encode(text)) == text


def test_the_same_text_gives_the_same_bytes(capfd):
  assert train() == train()
  assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize(
  'parameters,message',
  [
    (dict(vocab_size=9000), r'^x.vocab_size is 9000, more .* at most \d+, or'),
    (dict(vocab_size=20), r'^x.vocab_size is 20, less .* at least \d+, or a s'),
    (dict(vocab_size=4), r'^x.vocab_size is 4, less .* at least \d+, or a sm'),
    (dict(text='', characters=''), r'^x.vocab_size is 80, but there are no se'),
    (dict(text='\n', characters='\n'), r'^x.vocab_size is 80, '),
  ],
)
def test_parameters_that_the_text_does_not_support(parameters, message):
  with pytest.raises(ReformerError, match=message) as error:
    train(**parameters)
  assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize('content', [None, b'', b'garbage'])
def test_a_damaged_model_is_said(content, tmp_path):
  path = tmp_path / 'x.model'
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(ReformerError, match=f'^vocabulary {path} '):
    TextVocabulary(path)


def test_a_model_with_other_special_ids_is_refused(tmp_path):
  spm.SentencePieceTrainer.train(
    sentence_iterator=iter(TEXT.replace('\0', '').split('\n')),
    model_prefix=str(tmp_path / 'x'),
    vocab_size=80,
    minloglevel=2,
  )
  with pytest.raises(ReformerError, match='has the ids .* not .0, 1, 2.'):
    TextVocabulary(tmp_path / 'x.model')

import numpy as np
import pytest
import sentencepiece as spm

from tests.data import parallel
from trax_reformer_ext import ReformerError
from trax_reformer_ext.data.vocabulary import Vocabulary, train_model

TEXTS = parallel.sentences('en', 200) + parallel.sentences('de', 200)


@pytest.fixture(scope='module', params=['unigram', 'bpe'])
def vocabulary(request, tmp_path_factory):
  path = tmp_path_factory.mktemp('vocabulary') / 'x.model'
  path.write_bytes(train_model(TEXTS, 48, request.param, 1.0))
  return Vocabulary.load(path)


def test_texts_become_ids_and_come_back(vocabulary):
  encoded = vocabulary.encode(TEXTS)
  assert vocabulary.size == 48
  for text, ids in zip(TEXTS, encoded, strict=True):
    assert ids[-1] == 1 and min(ids[:-1]) > 2 and max(ids) < 48
    assert vocabulary.decode(ids) == text
  assert vocabulary.encode(['']) == [[1]]
  assert vocabulary.encode([]) == []


def test_decoding_ends_at_the_first_end_and_drops_padding(vocabulary):
  (ids,) = vocabulary.encode(['the dog'])
  padded = np.array([0, *ids[:-1], 0, 1, 5, 6, 0], np.int32)
  assert vocabulary.decode(padded) == 'the dog'
  assert vocabulary.decode(ids[:-1]) == 'the dog'
  assert vocabulary.decode(np.zeros(4, np.int32)) == ''


def test_a_character_that_is_not_in_the_data_is_unknown(vocabulary):
  (ids,) = vocabulary.encode(['dog 日'])
  assert 2 in ids and vocabulary.decode(ids).startswith('dog')


def test_training_is_quiet_and_gives_the_same_bytes_again(capfd):
  first = train_model(TEXTS, 48, 'unigram', 1.0)
  assert train_model(iter(TEXTS), 48, 'unigram', 1.0) == first
  assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize('content', [b'', b'garbage', None, 'cut off'])
def test_a_damaged_model_is_said(content, tmp_path, vocabulary):
  path = tmp_path / 'x.model'
  if content == 'cut off':
    with open(vocabulary.path, 'rb') as f:
      content = f.read()[:-100]
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(ReformerError, match=f'vocabulary {path} ') as error:
    Vocabulary.load(path)
  assert len(str(error.value).splitlines()) == 1


def test_a_model_with_other_special_ids_is_refused(tmp_path):
  spm.SentencePieceTrainer.train(
    sentence_iterator=iter(TEXTS),
    model_prefix=str(tmp_path / 'x'),
    vocab_size=48,
    minloglevel=2,
  )
  with pytest.raises(ReformerError, match='has the ids .* not .0, 1, 2.'):
    Vocabulary.load(tmp_path / 'x.model')


@pytest.mark.parametrize(
  'parameters,message',
  [
    ((8000, 'unigram', 1.0), r'vocab_size is 8000, more .* at most \d+, or'),
    ((8000, 'bpe', 1.0), r'vocab_size is 8000, more .* at most \d+, or'),
    ((10, 'bpe', 1.0), r'vocab_size is 10, less than .* at least \d+, or'),
    ((2, 'bpe', 1.0), 'vocab_size is 2: give an int of at least 4'),
    ((60.0, 'bpe', 1.0), 'vocab_size is 60.0: give an int of at least 4'),
    ((48, 'word', 1.0), "model_type is 'word': give one of unigram, bpe"),
    ((48, 'bpe', 0.97), 'character_coverage is 0.97: give a number from 0.98'),
  ],
)
def test_parameters_that_the_data_does_not_support(parameters, message):
  with pytest.raises(ReformerError, match=message) as error:
    train_model(TEXTS, *parameters)
  assert len(str(error.value).splitlines()) == 1


def test_the_largest_size_that_is_said_will_do():
  with pytest.raises(ReformerError) as error:
    train_model(TEXTS, 8000, 'unigram', 1.0)
  largest = int(str(error.value).split('at most ')[1].split(',')[0])
  train_model(TEXTS, largest, 'unigram', 1.0)


def test_no_sentences_at_all():
  with pytest.raises(ReformerError, match='there are no sentences'):
    train_model(['', ''], 48, 'unigram', 1.0)

"""trax-reformer prepare, for pairs of texts."""

import gzip
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tests.data import parallel
from tests.data.parallel import SMALL, flags
from tests.data.prepared import assert_mistake, complete
from trax_reformer_ext import ReformerError, translation_inputs


def _only(data_dir):
  (folder,) = complete(data_dir)
  return folder


def test_it_says_what_it_wrote(call, data_dir, tmp_path):
  pairs = flags(*parallel.write_pair(tmp_path, 200))
  code, out, err = call('translation', *pairs, SMALL)
  assert code == 0 and err == ''
  folder = _only(data_dir)
  lines = out.splitlines()
  assert lines[0].startswith('translation/train_en_')
  assert f' prepared: {folder} (' in lines[0]
  assert lines[1] == f'Data: {tmp_path}/train.en and {tmp_path}/train.de'
  assert lines[2].startswith('Vocabulary unigram48 trained: ')
  assert lines[2].endswith('unigram48.model (48 ids)')
  for line, n in zip(lines[3:], ('180', '10', '10'), strict=True):
    words = line.split()
    assert (
      words[1:3] == [n, 'pairs'] and words[-3:] == 'tokens of target'.split()
    )
  before = {f: f.stat().st_mtime_ns for f in folder.rglob('*')}
  code, out, _ = call('translation', *pairs, SMALL)
  assert code == 0 and out.count('is already there: ') == 2
  assert before == {f: f.stat().st_mtime_ns for f in folder.rglob('*')}


def test_splits_of_their_own_plain_or_gzipped(call, data_dir, tmp_path):
  folder = tmp_path / 'texts'
  folder.mkdir()
  train = [
    parallel.write(folder / f'{x}.gz', parallel.sentences(x, 100))
    for x in ('en', 'de')
  ]
  held_out = parallel.write_pair(folder, 7, seed=1, name='val')
  arguments = [*flags(*train), *flags(*held_out, prefix='validation_'), SMALL]
  assert call('translation', *arguments)[0] == 0
  splits = translation_inputs(data_dir=str(data_dir)).splits
  expected = list(
    zip(
      parallel.sentences('en', 100), parallel.sentences('de', 100), strict=True
    )
  )
  assert list(splits['train']) == expected[:95]
  assert list(splits['test']) == expected[95:]
  assert splits['test'][-1] == expected[-1]
  assert list(splits['validation']) == list(
    zip(
      parallel.sentences('en', 7, 1),
      parallel.sentences('de', 7, 1),
      strict=True,
    )
  )


def test_only_newlines_end_a_line(call, data_dir, tmp_path):
  odd = ['the\u2028dog', 'a\rcat', 'the sky\x0b\x85', '']
  source = parallel.write(tmp_path / 's', odd * 10, end='\r\n')
  target = parallel.write(tmp_path / 't', parallel.sentences('de', 40))
  assert (
    call(
      'translation',
      *flags(source, target),
      '--config=trax_reformer_ext.train_vocabulary.vocab_size=35',
    )[0]
    == 0
  )
  splits = translation_inputs(data_dir=str(data_dir)).splits
  texts = [s for split in splits.values() for s, _ in split]
  assert texts == odd * 10


def test_a_last_line_without_an_end(call, data_dir, tmp_path):
  lines = parallel.sentences('en', 40)
  source, target = parallel.write_pair(tmp_path, 40)
  source.write_text('\n'.join(lines))
  assert call('translation', *flags(source, target), SMALL)[0] == 0


def test_tfds_loads_the_pairs(call, data_dir, tmp_path):
  pairs = parallel.write_pair(tmp_path, 40)
  assert call('translation', *flags(*pairs), SMALL)[0] == 0
  config = _only(data_dir).parent.name
  name = f'translation/{config}'
  examples = tfds.data_source(name, split='train', data_dir=data_dir)
  assert examples[0]['source'].decode() == parallel.sentences('en', 40)[0]
  assert examples[0]['target'].decode() == parallel.sentences('de', 40)[0]
  info = tfds.builder(name, data_dir=data_dir).info
  assert info.supervised_keys == ('source', 'target')


def test_files_that_changed_are_said(call, tmp_path):
  source, target = parallel.write_pair(tmp_path, 40)
  assert call('translation', *flags(source, target), SMALL)[0] == 0
  parallel.write(target, parallel.sentences('de', 40, seed=5))
  code, _, err = call('translation', *flags(source, target), SMALL)
  assert code == 1 and 'holds other files than when' in err


def test_several_vocabularies_are_told_apart(call, data_dir, tmp_path):
  pairs = flags(*parallel.write_pair(tmp_path, 200))
  gin_file = tmp_path / 'bpe.gin'
  gin_file.write_text("trax_reformer_ext.train_vocabulary.model_type = 'bpe'\n")
  bpe = [f'--config_file={gin_file}', SMALL]
  assert call('translation', *pairs, *bpe)[0] == 0
  one = translation_inputs(data_dir=str(data_dir)).vocabulary
  assert pathlib.Path(one.path).name == 'bpe48.model'
  assert call('translation', *pairs, SMALL)[0] == 0
  with pytest.raises(ReformerError, match='give one of bpe48, unigram48'):
    translation_inputs(data_dir=str(data_dir), vocabulary='x')
  two = translation_inputs(data_dir=str(data_dir), vocabulary='unigram48')
  assert pathlib.Path(two.vocabulary.path).name == 'unigram48.model'


def test_a_vocabulary_that_is_too_large_leaves_the_data(
  call, data_dir, tmp_path
):
  pairs = parallel.write_pair(tmp_path, 40)
  code, _, err = call('translation', *flags(*pairs))
  assert code == 1 and len(err.splitlines()) == 1
  assert 'train_vocabulary.vocab_size is 8000, more than the ' in err
  assert list(_only(data_dir).rglob('incomplete*')) == []
  with pytest.raises(ReformerError) as error:
    translation_inputs(data_dir=str(data_dir))
  assert (
    'has no vocabulary: run trax-reformer prepare translation '
    f'--data_dir={data_dir} --source={pairs[0]} --target={pairs[1]}'
  ) in str(error.value)
  assert call('translation', *flags(*pairs), SMALL)[0] == 0
  translation_inputs(data_dir=str(data_dir))


def test_a_vocabulary_learns_from_evenly_spaced_pairs(call, data_dir, tmp_path):
  pairs = flags(*parallel.write_pair(tmp_path, 400))
  some = '--config=trax_reformer_ext.train_vocabulary.max_pairs=100'
  assert call('translation', *pairs, SMALL, some)[0] == 0
  path = pathlib.Path(
    translation_inputs(data_dir=str(data_dir)).vocabulary.path
  )
  assert path.name == 'unigram48_every4.model'


def _uneven(folder):
  source, target = parallel.write_pair(folder, 30)
  parallel.write(target, ['x'] * 31)
  return flags(
    source, target
  ), f'{source} has 30 lines, but target {target} 31:'


def _empty(folder):
  source, target = parallel.write_pair(folder, 0)
  return flags(source, target), f'{target} are empty'


def _no_sentences(folder):
  for name in ('s', 't'):
    parallel.write(folder / name, [''] * 40)
  return flags(folder / 's', folder / 't'), 'there are no sentences'


def _few(folder):
  pairs = flags(*parallel.write_pair(folder, 5))
  return pairs, '5 lines is too little to split 90/5/5: give at least 20'


def _undecodable(folder):
  source, target = parallel.write_pair(folder, 30)
  lines = target.read_bytes().split(b'\n')
  lines[16] = b'gr\xfcn'
  target.write_bytes(b'\n'.join(lines))
  return flags(source, target), f'target {target} is not UTF-8 at line 17 ('


def _missing(folder):
  source, target = parallel.write_pair(folder, 30)
  target.unlink()
  return flags(source, target), f'target {target} cannot be read (No such file'


def _folder(folder):
  source, _ = parallel.write_pair(folder, 30)
  return flags(source, folder), f'target {folder} cannot be read (Is a direc'


def _damaged_gzip(damage):
  def make(folder):
    source, target = (
      parallel.write(folder / f'{x}.gz', parallel.sentences(x, 300))
      for x in ('en', 'de')
    )
    target.write_bytes(damage(target.read_bytes()))
    return flags(source, target), f'target {target} cannot be unpacked ('

  return make


def _no_target(folder):
  source, _ = parallel.write_pair(folder, 30)
  return [f'--source={source}'], f"target is None and source '{source}': give"


def _no_test_source(folder):
  source, target = parallel.write_pair(folder, 30)
  pairs = [*flags(source, target), f'--test_target={target}']
  return pairs, f"test_source is None and test_target '{target}': give two"


BROKEN = {
  'uneven': _uneven,
  'empty': _empty,
  'few': _few,
  'not UTF-8': _undecodable,
  'missing': _missing,
  'folder': _folder,
  'cut off': _damaged_gzip(lambda data: data[:-30]),
  'flipped': _damaged_gzip(lambda data: data[:99] + b'\xff' + data[100:]),
  'no gzip': _damaged_gzip(gzip.decompress),
  'no target': _no_target,
  'no test source': _no_test_source,
  'nothing': lambda _: ([], 'source is None and target None: give'),
}


@pytest.mark.parametrize('kind', BROKEN)
def test_broken_texts_are_named(kind, call, data_dir, tmp_path):
  arguments, message = BROKEN[kind](tmp_path)
  assert_mistake(call('translation', *arguments, SMALL), message, data_dir)


def test_empty_sentences_alone_make_no_vocabulary(call, tmp_path):
  arguments, message = _no_sentences(tmp_path)
  code, _, err = call('translation', *arguments, SMALL)
  assert code == 1 and message in err and len(err.splitlines()) == 1


MISTAKES = {
  'name': (['wmt99'], "NAME is 'wmt99': give one of bytes_folder, enwik8"),
  'config': (
    ['wmt14_translate/xx'],
    "NAME is 'wmt14_translate/xx', which TFDS",
  ),
  'no pairs': (['mnist'], 'NAME is mnist/3.0.1, which has no pairs of texts'),
  'language': (
    ['wmt14_translate/de-en', '--source=fr'],
    "--source is 'fr': give one of de, en",
  ),
  'same': (
    ['wmt14_translate/de-en', '--source=de', '--target=de'],
    "--source is 'de': give one of de, en",
  ),
  'length': (['wmt14_translate/de-en', '--length=3'], '--length is 3, but wmt'),
  'no source': (['enwik8', '--source=x'], "--source is 'x', but enwik8 has no"),
  'path': (['translation', '--path=x'], "--path is 'x', but translation has"),
  'gin': (['translation', '--config=train_vocabulary.x=1'], 'config: '),
}


@pytest.mark.parametrize('kind', MISTAKES)
def test_mistakes_are_said_in_one_line(kind, call, data_dir):
  arguments, message = MISTAKES[kind]
  assert_mistake(call(*arguments), message, data_dir)


class FakeTranslate(tfds.core.GeneratorBasedBuilder):
  """As TFDS's own data sets of translations: languages, and no test split."""

  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    return self.dataset_info_from_configs(
      features=tfds.features.Translation(languages=('de', 'en')),
      supervised_keys=('de', 'en'),
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {
      'train': self._generate_examples(100, 0),
      'validation': self._generate_examples(10, 1),
    }

  def _generate_examples(self, n, seed):
    de, en = (parallel.sentences(x, n, seed) for x in ('de', 'en'))
    for i in range(n):
      yield i, {'de': de[i], 'en': en[i]}


class FakeTexts(FakeTranslate):
  """Two texts beside other features."""

  def _info(self):
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(
        {
          'id': np.int64,
          'texts': {'de': tfds.features.Text(), 'en': tfds.features.Text()},
        }
      ),
    )

  def _generate_examples(self, n, seed):
    for i, texts in super()._generate_examples(n, seed):
      yield i, {'id': i, 'texts': texts}


@pytest.mark.parametrize('name', ['fake_translate', 'fake_texts'])
def test_data_sets_of_tfds(name, call, data_dir):
  with pytest.raises(ReformerError, match=f'{name} is not prepared in .*: run'):
    translation_inputs(name, str(data_dir))
  code, out, _ = call(name, '--source=en', '--target=de', SMALL)
  assert code == 0 and f'{name} prepared: ' in out
  assert out.splitlines()[-1].endswith(' tokens of de')
  code, out, _ = call(name, '--source=en', '--target=de', SMALL)
  assert code == 0 and out.count('is already there: ') == 2
  inputs = translation_inputs(name, str(data_dir))
  train = list(inputs.pairs('train'))
  assert len(train) == 95 and len(inputs.pairs('test')) == 5
  expected = set(
    zip(
      parallel.sentences('en', 100), parallel.sentences('de', 100), strict=True
    )
  )
  assert {*train, *inputs.pairs('test')} == expected
  back = translation_inputs(name, str(data_dir), source_language='de')
  assert list(back.pairs('train')) == [pair[::-1] for pair in train]
  for forward, backward in zip(
    inputs.split_batches('test'), back.split_batches('test'), strict=True
  ):
    np.testing.assert_array_equal(forward[0], backward[1])
    np.testing.assert_array_equal(forward[1], backward[0])
  with pytest.raises(ReformerError, match="source_language is 'fr': give one"):
    translation_inputs(name, str(data_dir), source_language='fr')
  with pytest.raises(ReformerError, match="target_language is 'de', as is so"):
    translation_inputs(
      name, str(data_dir), source_language='de', target_language='de'
    )


def test_a_data_set_of_tfds_without_random_access(call, data_dir):
  FakeTranslate(data_dir=data_dir).download_and_prepare()
  code, _, err = call('fake_translate', SMALL)
  assert code == 1 and 'is prepared as tfrecord, not as array_record' in err
  assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
  'error', [ConnectionError('no network'), AssertionError(), ValueError('a\nb')]
)
def test_a_data_set_of_tfds_that_is_not_reached(
  error, call, data_dir, monkeypatch
):
  def fail(*_):
    raise error

  monkeypatch.setattr(tfds.download.DownloadManager, 'download', fail)
  monkeypatch.setattr(
    tfds.download.DownloadManager, 'download_and_extract', fail
  )
  message = 'para_crawl/ende/1.2.0 cannot be prepared by TFDS ('
  assert_mistake(call('para_crawl/ende'), message, data_dir)


def test_a_disk_that_is_full(call, data_dir, monkeypatch):
  def fail(*_, **__):
    raise tf.errors.ResourceExhaustedError(None, None, 'x; No space left')

  monkeypatch.setattr(FakeTranslate, '_generate_examples', fail)
  message = 'written (No space left on device'
  assert_mistake(call('fake_translate', SMALL), message, data_dir)

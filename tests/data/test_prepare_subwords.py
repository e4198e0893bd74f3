"""trax-reformer prepare subwords, and the batches of what it has written."""

import gzip
import lzma
import pathlib

import numpy as np
import pytest

from tests.data import book
from tests.data.book import SMALL, VOCABULARY
from tests.data.prepared import SPLITS, all_records, assert_mistake, complete
from trax_reformer_ext import ReformerError, text_inputs
from trax_reformer_ext.data import text_vocabulary

TEXT = book.text()
N_BYTES = len(TEXT.encode())


@pytest.fixture
def path(tmp_path):
  path = tmp_path / 'book.txt'
  path.write_bytes(TEXT.encode())
  return path


@pytest.fixture
def prepared(call, path, data_dir):
  """The directory of data with a vocabulary of 80 ids."""
  assert call('subwords', f'--path={path}', '--length=100', SMALL)[0] == 0
  return str(data_dir)


def test_it_says_what_it_wrote(call, path, data_dir):
  code, out, err = call('subwords', f'--path={path}', '--length=100', SMALL)
  assert code == 0 and err == ''
  (folder,) = complete(data_dir)
  size = sum(f.stat().st_size for f in folder.iterdir())
  lines = out.splitlines()
  assert lines[:2] == [
    f'subwords/{folder.parent.name} prepared: {folder} ({size:,} bytes)',
    f'Data: {path}: {N_BYTES:,} bytes in 1 files, vocabulary unigram80',
  ]
  words = [line.split() for line in lines[2:]]
  assert [x[0] for x in words] == list(SPLITS)
  assert sum(int(x[-2].replace(',', '')) for x in words) == N_BYTES
  assert 'unknown' not in out
  before = {f: f.stat().st_mtime_ns for f in folder.iterdir()}
  code, out, _ = call('subwords', f'--path={path}', '--length=100', SMALL)
  assert code == 0 and 'is already there: ' in out
  assert before == {f: f.stat().st_mtime_ns for f in folder.iterdir()}


def test_the_tokens_are_the_text(prepared, path):
  inputs = text_inputs('subwords', prepared, length=16)
  parts = [inputs.text(split).tobytes() for split in SPLITS]
  assert b''.join(parts).decode() == TEXT
  ids = all_records('subwords', pathlib.Path(prepared))
  assert inputs.vocabulary.decode(ids) == TEXT
  assert ids.min() > 2 and ids.max() < 80
  # 90/5/5 % of the bytes, but for the rest of a character.
  sizes = [len(part) / N_BYTES for part in parts]
  np.testing.assert_allclose(sizes, [0.9, 0.05, 0.05], atol=4 / N_BYTES)


def test_batches_are_those_of_the_tokens(prepared):
  inputs = text_inputs('subwords', prepared, length=16, batch_size=3, seed=1)
  ids, targets, weights = next(inputs.train_stream(1))
  assert ids.shape == (3, 16) and ids.dtype == np.int32 and weights.all()
  np.testing.assert_array_equal(ids, targets)
  train = inputs.text('train').tobytes().decode()
  for row in ids:
    assert inputs.vocabulary.decode(row) in train
  batches = list(inputs.split_batches('test'))
  tokens = np.concatenate([ids[weights > 0] for ids, _, weights in batches])
  assert len(tokens) == len(inputs.splits['test'])
  assert inputs.to_bytes(tokens).tobytes() == inputs.text('test').tobytes()


def test_bytes_have_no_vocabulary():
  inputs = text_inputs(length=16)
  assert inputs.vocabulary is None
  np.testing.assert_array_equal(inputs.to_bytes([0, 1, 2, 67]), [0, 65])


def test_files_of_a_folder_plain_or_packed(call, data_dir, tmp_path):
  folder = tmp_path / 'texts'
  (folder / 'b').mkdir(parents=True)
  parts = [TEXT[:3000], TEXT[3000:3001], TEXT[3001:]]
  (folder / 'a.txt.gz').write_bytes(gzip.compress(parts[0].encode()))
  (folder / 'b' / 'c').write_bytes(parts[1].encode())
  (folder / 'd.xz').write_bytes(lzma.compress(parts[2].encode()))
  code, out, _ = call('subwords', f'--path={folder}', SMALL)
  assert code == 0 and f'{N_BYTES:,} bytes in 3 files' in out
  inputs = text_inputs('subwords', str(data_dir), length=16)
  assert b''.join(inputs.text(x).tobytes() for x in SPLITS).decode() == TEXT


def test_splits_are_between_characters(call, data_dir, tmp_path):
  path = tmp_path / 'x'
  for n in range(4):
    text = 'a' * n + '日本語ß\U0001f600\n' * 30
    path.with_name(f'{n}').write_bytes(text.encode())
    small = f'--config={VOCABULARY}.vocab_size=11'
    assert call('subwords', f'--path={tmp_path / str(n)}', small)[0] == 0
    inputs = text_inputs(
      'subwords', str(data_dir), length=1, path=str(tmp_path / str(n))
    )
    parts = [inputs.text(split).tobytes().decode() for split in SPLITS]
    assert ''.join(parts) == text


def test_what_only_the_other_splits_have_is_known(call, data_dir, tmp_path):
  path = tmp_path / 'x'
  path.write_text(TEXT + 'ΩΨ')
  assert call('subwords', f'--path={path}', SMALL)[0] == 0
  inputs = text_inputs('subwords', str(data_dir), length=16)
  assert inputs.text('test').tobytes().decode().endswith('ΩΨ')


def test_what_is_not_covered_is_counted(call, data_dir, tmp_path):
  path = tmp_path / 'x'
  path.write_text('the dog and the cat\n' * 100 + 'ΩΨ\nΩ')
  coverage = f'--config={VOCABULARY}.character_coverage=0.999'
  size = f'--config={VOCABULARY}.vocab_size=16'
  code, out, _ = call('subwords', f'--path={path}', size, coverage)
  assert code == 0
  assert ' tokens (2 unknown) for ' in out.splitlines()[-1]
  assert 'vocabulary unigram16_coverage0.999' in out
  inputs = text_inputs('subwords', str(data_dir), length=16)
  assert inputs.text('test').tobytes().decode().endswith('\ufffd\n\ufffd')


def test_several_vocabularies_are_told_apart(call, path, prepared):
  bpe = f'--config={VOCABULARY}.model_type="bpe"'
  part = f'--config={VOCABULARY}.max_bytes=2000'
  arguments = f'--path={path}', '--length=100', SMALL, bpe, part
  assert call('subwords', *arguments)[0] == 0
  with pytest.raises(ReformerError, match='several times .*vocabulary=bpe80_m'):
    text_inputs('subwords', prepared, length=16)
  for name in ('unigram80', 'bpe80_max2000'):
    inputs = text_inputs('subwords', prepared, length=16, vocabulary=name)
    assert pathlib.Path(inputs.vocabulary.path).parents[1].name.endswith(name)
  with pytest.raises(ReformerError, match='not with vocabulary=x: run trax-re'):
    text_inputs('subwords', prepared, length=16, vocabulary='x')


def test_files_that_changed_are_said(call, path, prepared):
  path.write_text(TEXT + 'more')
  code, _, err = call('subwords', f'--path={path}', '--length=100', SMALL)
  assert code == 1 and 'holds other files than when' in err


def test_what_is_not_prepared_is_said(tmp_path):
  with pytest.raises(ReformerError) as error:
    text_inputs('subwords', str(tmp_path), path='/x')
  assert (
    f'run trax-reformer prepare subwords --data_dir={tmp_path} --path=/x'
  ) in str(error.value)


@pytest.mark.parametrize('damage', ['missing', 'damaged', 'another'])
def test_a_vocabulary_that_is_damaged_is_named(damage, prepared):
  (model,) = pathlib.Path(prepared).rglob('vocabulary.model')
  message = f'vocabulary {model} '
  if damage == 'missing':
    model.unlink()
    message += 'cannot be read'
  elif damage == 'damaged':
    model.write_bytes(b'garbage')
    message += 'is damaged'
  else:
    other = text_vocabulary.train_text_model(
      TEXT, set(TEXT), 70, 'bpe', 1, 10**6, 'x'
    )
    model.write_bytes(other)
    message += 'has 70 ids, not the 80 of the data beside it'
  with pytest.raises(ReformerError, match=message):
    text_inputs('subwords', prepared, length=16)


def _latin_1(path):
  path.write_bytes(b'abc' * 10 + 'naïve'.encode('latin-1') * 20)
  return f'path {path} is not UTF-8 at byte 32 (invalid continuation byte, 0xef'


def _cut_off(path):
  path.write_bytes(('a' * 1500 + '日').encode()[:-1])
  return f'path {path} is not UTF-8 at byte 1,500 (unexpected end of data, 0xe6'


def _few(path):
  path.write_text('日本語')
  return f'{path}: 9 bytes is too little to split 90/5/5: give at least 20'


def _few_characters(path):
  path.write_text('\U0001f600' * 5)
  return f'{path}: 20 bytes is too little to split 90/5/5: give at least 80'


def _empty(path):
  path.write_text('')
  return f'{path}: 0 bytes is too little to split'


def _missing(path):
  return f'path {path} cannot be read (No such file'


def _packed(suffix, pack, damage):
  def make(path):
    path = path.with_name(f'x{suffix}')
    path.write_bytes(damage(pack(TEXT.encode())))
    return path, f'path {path} cannot be unpacked ('

  return make


_cut = lambda data: data[:-30]
_flip = lambda data: data[:99] + bytes([data[99] ^ 255]) + data[100:]
BROKEN = {
  'latin-1': _latin_1,
  'cut off': _cut_off,
  'few': _few,
  'few characters': _few_characters,
  'empty': _empty,
  'missing': _missing,
  'gz cut off': _packed('.gz', gzip.compress, _cut),
  'gz flipped': _packed('.gz', gzip.compress, _flip),
  'no gz': _packed('.gz', bytes, bytes),
  'xz cut off': _packed('.xz', lzma.compress, _cut),
  'xz flipped': _packed('.xz', lzma.compress, _flip),
  'no xz': _packed('.xz', bytes, bytes),
}


@pytest.mark.parametrize('kind', BROKEN)
def test_broken_texts_are_named(kind, call, data_dir, tmp_path):
  path = tmp_path / 'x.txt'
  message = BROKEN[kind](path)
  if isinstance(message, tuple):
    path, message = message
  assert_mistake(call('subwords', f'--path={path}', SMALL), message, data_dir)


MISTAKES = {
  'too large': ('vocab_size=9000', 'vocab_size is 9000, more than the sent'),
  'too small': ('vocab_size=9', 'vocab_size is 9, less than the sentences'),
  'size': ('vocab_size="x"', "vocab_size is 'x': give an int of at least 4"),
  'type': ('model_type="../x"', "model_type is '../x': give one of unigram"),
  'coverage': ('character_coverage="x"', "character_coverage is 'x': give a"),
  'bytes': ('max_bytes=0', 'max_bytes is 0: give an int of at least 1'),
}


@pytest.mark.parametrize('kind', MISTAKES)
def test_mistakes_of_the_vocabulary_are_said(kind, call, path, data_dir):
  binding, message = MISTAKES[kind]
  config = f'--config={VOCABULARY}.{binding}'
  result = call('subwords', f'--path={path}', SMALL, config)
  assert_mistake(result, f'train_text_vocabulary.{message}', data_dir)


@pytest.mark.parametrize(
  'arguments,message',
  [
    ([], 'path is None: give a folder of files'),
    (['--path=x', '--length=0'], 'length is 0: give an int of at least 1'),
    (['--path=x', '--source=y'], "--source is 'y', but subwords has no such"),
    ([f'--config={VOCABULARY}.size=3'], 'config: '),
  ],
)
def test_mistakes_are_said_in_one_line(arguments, message, call, data_dir):
  assert_mistake(call('subwords', *arguments), message, data_dir)


def test_a_book(real, call, data_dir):
  path = real / 'crime_and_punishment.txt.xz'
  arguments = f'--path={path}', f'--config={VOCABULARY}.vocab_size=320'
  code, out, _ = call('subwords', *arguments)
  assert code == 0 and '1,155,189 bytes' in out and 'unknown' not in out
  inputs = text_inputs('subwords', str(data_dir), length=1024)
  parts = [inputs.text(split).tobytes() for split in SPLITS]
  assert b''.join(parts) == lzma.decompress(path.read_bytes())
  n_tokens = sum(len(tokens) for tokens in inputs.splits.values())
  assert n_tokens < 0.55 * 1_155_189

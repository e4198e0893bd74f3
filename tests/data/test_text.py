import itertools
import lzma
import zipfile

import numpy as np
import pytest

from trax_reformer_ext import ReformerError, text_inputs
from trax_reformer_ext.data import sources, tokens
from trax_reformer_ext.data.entropy import entropies

START = b'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.3/"'
PREFIX = START + b' and some more text of the encyclopedia' * 50


def test_bytes_become_ids_and_come_back():
  data = np.frombuffer('naïve 日本 \x00\xff'.encode(), np.uint8)
  ids = tokens.encode(data)
  assert ids.dtype == np.int32 and ids.min() >= 2 and ids.max() < 258
  assert tokens.decode(ids) == 'naïve 日本 \x00\xff'
  assert tokens.decode([0, 1, 2 + 0xFF, 2 + 65]) == '\ufffdA'


def test_standard_library_is_split_the_same_way_every_time():
  first, again = (sources.load_text('python_stdlib') for _ in range(2))
  n = sum(len(x) for x in first.splits.values())
  assert n > 3_000_000
  assert abs(len(first.splits['train']) - 0.9 * n) <= 1
  assert abs(len(first.splits['validation']) - 0.05 * n) <= 1
  for name, data in first.splits.items():
    np.testing.assert_array_equal(data, again.splits[name])


def test_a_missing_package_is_announced(monkeypatch, tmp_path):
  (tmp_path / 'json').mkdir()
  (tmp_path / 'json' / '__init__.py').write_text('x = 1\n')
  (tmp_path / 'b.py').write_text('# b\n')
  (tmp_path / 'site-packages').mkdir()
  (tmp_path / 'site-packages' / 'c.py').write_text('# never\n')
  monkeypatch.setattr(sources.sysconfig, 'get_path', lambda _: str(tmp_path))
  loaded = sources.load_text('python_stdlib')
  assert b''.join(x.tobytes() for x in loaded.splits.values()) == (
    b'# b\nx = 1\n'
  )
  assert 'not found there: asyncio, ' in loaded.description


@pytest.mark.parametrize('form', ['enwik8', 'enwik8.zip', 'enwik8.xz'])
def test_enwik8_is_read_in_every_form(form, tmp_path):
  if form.endswith('zip'):
    with zipfile.ZipFile(tmp_path / form, 'w') as archive:
      archive.writestr('enwik8', PREFIX)
  else:
    pack = lzma.compress if form.endswith('xz') else bytes
    (tmp_path / form).write_bytes(pack(PREFIX))
  loaded = sources.load_text('enwik8', str(tmp_path))
  assert b''.join(x.tobytes() for x in loaded.splits.values()) == PREFIX
  assert f'{len(PREFIX):,} bytes, a PREFIX of' in loaded.description


def test_missing_enwik8_says_where_and_how(tmp_path):
  with pytest.raises(ReformerError) as error:
    sources.load_text('enwik8', str(tmp_path))
  assert str(tmp_path) in str(error.value)
  assert 'mattmahoney.net/dc/enwik8.zip' in str(error.value)


@pytest.mark.parametrize(
  'name,content,message',
  [
    ('enwik8', b'something else', 'is not enwik8: it starts with'),
    ('enwik8.xz', b'no archive', 'cannot be unpacked'),
    ('enwik8.zip', b'no archive', 'cannot be unpacked'),
    ('enwik8.xz', lzma.compress(PREFIX)[:-20], 'cannot be unpacked'),
  ],
)
def test_broken_enwik8_is_refused(name, content, message, tmp_path):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(ReformerError, match=message):
    sources.load_text('enwik8', str(tmp_path))


def test_zip_without_enwik8_is_refused(tmp_path):
  with zipfile.ZipFile(tmp_path / 'enwik8.zip', 'w') as archive:
    archive.writestr('../enwik8', PREFIX)
  with pytest.raises(ReformerError, match='has no member enwik8'):
    sources.load_text('enwik8', str(tmp_path))


def test_more_than_enwik8_is_never_read(tmp_path, monkeypatch):
  monkeypatch.setattr(sources, '_ENWIK8_BYTES', 1000)
  (tmp_path / 'enwik8.xz').write_bytes(lzma.compress(START + bytes(10**7)))
  with pytest.raises(ReformerError, match='more than 1,000 bytes'):
    sources.load_text('enwik8', str(tmp_path))


def test_full_size_needs_the_right_hash(tmp_path, monkeypatch):
  monkeypatch.setattr(sources, '_ENWIK8_BYTES', len(PREFIX))
  (tmp_path / 'enwik8').write_bytes(PREFIX)
  with pytest.raises(ReformerError, match='SHA-1'):
    sources.load_text('enwik8', str(tmp_path))


def test_unknown_text_lists_the_known_ones():
  with pytest.raises(ReformerError, match="'enwik9': give one of enwik8"):
    sources.load_text('enwik9')


def test_training_batches_depend_on_seed_and_number_alone():
  inputs = text_inputs(length=16, batch_size=3, seed=1)
  batches = list(itertools.islice(inputs.train_stream(1), 5))
  again = inputs.train_batches(first=3)
  np.testing.assert_array_equal(batches[3], next(again))
  again.seek(1)
  np.testing.assert_array_equal(batches[1], next(again))
  other = text_inputs(length=16, batch_size=3, seed=2)
  assert not np.array_equal(batches[0], next(other.train_stream(1)))
  for ids, targets, weights in batches:
    assert ids.shape == targets.shape == weights.shape == (3, 16)
    assert ids.dtype == np.int32 and weights.dtype == np.float32
    assert ids.min() >= 2 and weights.all()


def test_a_batch_may_be_given_in_tokens():
  inputs = text_inputs(length=48, batch_tokens=200, n_hosts=2)
  assert next(inputs.train_stream(1))[0].shape == (2, 48)
  inputs = text_inputs(length=48, batch_tokens=200, n_hosts=3)
  assert next(inputs.train_stream(1))[0].shape == (1, 48)
  with pytest.raises(ReformerError, match='batch_tokens is 90, less than'):
    text_inputs(length=48, batch_tokens=90, n_hosts=2)


def test_evaluation_repeats_the_validation_windows_in_a_fixed_order(tmp_path):
  (tmp_path / 'enwik8').write_bytes(PREFIX)
  make = lambda seed: text_inputs(
    'enwik8', str(tmp_path), length=16, eval_batch_size=3, seed=seed
  )
  validation = make(0).text('validation')
  n = len(validation) // 16
  first, other = (make(seed).eval_stream(1) for seed in (0, 1))
  rows = [row for _ in range(n) for row in next(first)[0]]
  again = [row for _ in range(n) for row in next(other)[0]]
  np.testing.assert_array_equal(rows, again)
  np.testing.assert_array_equal(rows[:n], rows[n : 2 * n])
  windows = tokens.encode(validation[: n * 16].reshape(n, 16))
  assert sorted(map(tuple, rows[:n])) == sorted(map(tuple, windows))


def test_a_split_is_read_once_with_padding_at_the_end(tmp_path):
  (tmp_path / 'enwik8').write_bytes(PREFIX)
  inputs = text_inputs('enwik8', str(tmp_path), length=16, eval_batch_size=4)
  for split in ('train', 'validation', 'test'):
    batches = list(inputs.split_batches(split))
    ids = np.concatenate([b[0].ravel() for b in batches])
    weights = np.concatenate([b[2].ravel() for b in batches])
    np.testing.assert_array_equal(
      tokens.to_bytes(ids[weights > 0]), inputs.text(split)
    )
    assert not ids[weights == 0].any()
  with pytest.raises(ReformerError, match="split is 'all': give one of train"):
    inputs.split_batches('all')


@pytest.mark.parametrize(
  'name,value,message',
  [
    ('length', 0, 'give an int of at least 1'),
    ('batch_size', 0, 'give an int of at least 1'),
    ('batch_tokens', 0, 'give an int of at least 1'),
    ('eval_batch_size', 2.0, 'give an int of at least 1'),
    ('n_hosts', 0, 'give an int of at least 1'),
    ('host_id', -1, 'give an int of at least 0'),
    ('host_id', 1, 'with n_hosts 1: give an int in'),
    ('prefetch', None, 'give an int of at least 0'),
  ],
)
def test_what_is_no_size_is_refused(name, value, message):
  with pytest.raises(ReformerError, match=f'text_inputs.{name} is {value}'):
    text_inputs(**{name: value})
  with pytest.raises(ReformerError, match=message):
    text_inputs(**{name: value})


def test_an_unknown_data_set_lists_the_known_ones():
  with pytest.raises(ReformerError, match="'imagenet64': give one of bytes_f"):
    text_inputs('imagenet64')


def test_hosts_share_a_batch_evenly():
  with pytest.raises(ReformerError, match='batch_size is 3, over n_hosts 2'):
    text_inputs(batch_size=3, n_hosts=2)


def test_a_length_beyond_the_text_is_refused():
  with pytest.raises(ReformerError, match='text_inputs.length is 900000000'):
    text_inputs(length=900_000_000)


def test_entropies_of_known_texts():
  fair = np.frombuffer(b'ab' * 500, np.uint8)
  order_0, order_1 = entropies(fair)
  assert abs(order_0 - 1) < 1e-9 and abs(order_1) < 1e-9
  noise = np.random.default_rng(0).integers(0, 4, 100_000).astype(np.uint8)
  order_0, order_1 = entropies(noise)
  assert abs(order_0 - 2) < 0.01 and abs(order_1 - 2) < 0.01


def test_evaluation_may_have_shorter_windows_than_training():
  inputs = text_inputs(length=500_000, batch_size=1, eval_length=1000)
  assert next(inputs.train_stream(1))[0].shape == (1, 500_000)
  ids, targets, weights = next(inputs.eval_stream(1))
  assert ids.shape == targets.shape == weights.shape == (8, 1000)
  n = len(inputs.splits['test'])
  batches = list(inputs.split_batches('test'))
  assert sum(int(weights.sum()) for *_, weights in batches) == n
  assert all(ids.shape == (8, 1000) for ids, *_ in batches)


@pytest.mark.parametrize(
  'lengths,message',
  [
    (dict(length=10**8), 'text_inputs.length is 100000000, but the split'),
    (
      dict(length=10**8, eval_length=10),
      'text_inputs.length is 100000000, but the split train of python_stdlib',
    ),
    (
      dict(length=500_000, eval_length=10**7),
      'text_inputs.eval_length is 10000000, but the split',
    ),
    (dict(eval_length=0), 'text_inputs.eval_length is 0: give an int'),
  ],
)
def test_windows_longer_than_the_data_are_refused(lengths, message):
  with pytest.raises(ReformerError, match=message):
    text_inputs(**lengths)

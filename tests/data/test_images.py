"""Images and other prepared data as streams."""

import itertools
import re

import numpy as np
import pytest

from trax_reformer_ext import ReformerError, cli, image_inputs, text_inputs
from trax_reformer_ext.data.prepared import RecordTokens

N_IMAGES = 25
LENGTH = 64 * 64 * 3


class FakeRecords:
  """Ids 0, 1, 2, ... in records of a length; the last one is padded."""

  def __init__(self, n_tokens, length):
    self.n_tokens, self.length = n_tokens, length

  def __len__(self):
    return -(-self.n_tokens // self.length)

  def __getitem__(self, i):
    ids = np.arange(i * self.length, (i + 1) * self.length, dtype=np.int32)
    return np.where(ids < self.n_tokens, ids, 0)


@pytest.mark.parametrize('n_tokens,length', [(100, 10), (97, 10), (5, 8)])
def test_any_range_of_tokens_is_read_across_records(n_tokens, length):
  tokens = RecordTokens(FakeRecords(n_tokens, length))
  assert len(tokens) == n_tokens
  for start in range(n_tokens):
    for n in range(1, n_tokens - start + 1):
      ids = tokens.read(start, n)
      assert ids.dtype == np.int32
      np.testing.assert_array_equal(ids, np.arange(start, start + n))


@pytest.fixture(scope='module')
def images():
  return np.random.default_rng(0).integers(
    0, 256, (N_IMAGES, 64, 64, 3), np.uint8
  )


@pytest.fixture(scope='module')
def data_dir(images, tmp_path_factory):
  """A folder in which images and a text are prepared."""
  folder = tmp_path_factory.mktemp('prepared')
  source = folder / 'source'
  source.mkdir()
  np.savez(source / 'imagenet64.npz', images=images)
  text = np.random.default_rng(1).integers(0, 256, 2000, np.uint8)
  (source / 'text').write_bytes(text.tobytes())
  data_dir = f'--data_dir={folder}'
  for arguments in (
    ['imagenet64', f'--manual_dir={source}'],
    ['bytes_folder', f'--path={source / "text"}', '--length=64'],
  ):
    assert cli.main(['prepare', *arguments, data_dir]) == 0
  return folder


def take(n, stream):
  return list(itertools.islice(stream, n))


def test_training_sees_every_image_once_an_epoch(images, data_dir):
  inputs = image_inputs(data_dir=str(data_dir), batch_size=2, eval_batch_size=2)
  n_train = N_IMAGES * 90 // 100  # 22
  batches = take(n_train, inputs.train_stream(1))  # two epochs
  for ids, targets, weights in batches:
    assert ids.shape == targets.shape == weights.shape == (2, LENGTH)
    assert ids.dtype == np.int32 and weights.dtype == np.float32
    assert weights.all()  # at the id 0 too
  assert min(b[0].min() for b in batches) == 0
  rows = np.concatenate([b[0] for b in batches])
  known = sorted(image.ravel().tolist() for image in images[:n_train])
  for epoch in (rows[:n_train], rows[n_train:]):
    assert sorted(epoch.tolist()) == known
  assert not np.array_equal(rows[:n_train], rows[n_train:])


def test_pixels_come_back_in_order_and_only_padding_has_no_weight(
  images, data_dir
):
  inputs = image_inputs(data_dir=str(data_dir), eval_batch_size=3)
  found = []
  for split in ('train', 'validation', 'test'):
    for ids, _, weights in inputs.split_batches(split):
      assert ids.shape == weights.shape == (3, LENGTH)
      whole = weights.all(axis=1)
      np.testing.assert_array_equal(whole, weights.any(axis=1))
      found.append(ids[whole].reshape(-1, 64, 64, 3))
  np.testing.assert_array_equal(np.concatenate(found), images)


def test_images_are_cut_to_their_upper_rows(images, data_dir):
  options = dict(data_dir=str(data_dir), n_rows=5, batch_size=1)
  inputs = image_inputs(**options, eval_batch_size=2)
  ids, *_ = next(inputs.train_stream(1))
  tops = images[:, :5]
  assert any(np.array_equal(ids.reshape(5, 64, 3), top) for top in tops)
  found = []
  for split in ('train', 'validation', 'test'):
    for ids, _, weights in inputs.split_batches(split):
      found.append(ids[weights.all(axis=1)].reshape(-1, 5, 64, 3))
  np.testing.assert_array_equal(np.concatenate(found), tops)


@pytest.mark.parametrize('n_rows', [0, 65])
def test_rows_that_an_image_does_not_have(n_rows, data_dir):
  with pytest.raises(ReformerError, match=f'image_inputs.n_rows is {n_rows}'):
    image_inputs(data_dir=str(data_dir), n_rows=n_rows)


def test_a_run_goes_on_at_any_batch_and_hosts_share_batches(data_dir):
  make = lambda **k: image_inputs(data_dir=str(data_dir), batch_size=4, **k)
  batches = take(9, make(prefetch=0).train_stream(1))
  parts = [make(host_id=h, n_hosts=2).train_batches(first=8) for h in (0, 1)]
  np.testing.assert_array_equal(
    np.concatenate([next(p)[0] for p in parts]), batches[8][0]
  )


def test_the_source_is_said_and_can_be_asked_for(data_dir, capsys):
  image_inputs(data_dir=str(data_dir), source='images')
  assert 'plain images, not a published data set' in capsys.readouterr().out
  with pytest.raises(ReformerError, match='source=images.*source=png'):
    image_inputs(data_dir=str(data_dir), source='png')


def test_images_that_are_not_prepared(tmp_path):
  with pytest.raises(ReformerError, match='trax-reformer prepare imagenet64'):
    image_inputs(data_dir=str(tmp_path))
  with pytest.raises(ReformerError, match="dataset_name is 'cifar': give one"):
    image_inputs('cifar', data_dir=str(tmp_path))


def test_a_text_of_records_is_read_by_windows_of_any_length(data_dir, capsys):
  inputs = text_inputs(
    'bytes_folder', str(data_dir), length=90, batch_size=3, eval_batch_size=2
  )
  assert '2,000 bytes' in capsys.readouterr().out
  source = (data_dir / 'source' / 'text').read_bytes()
  parts = [inputs.text(split) for split in ('train', 'validation', 'test')]
  assert b''.join(part.tobytes() for part in parts) == source
  for ids, _, weights in take(40, inputs.train_stream(1)):
    assert ids.shape == (3, 90) and weights.all()
    for row in ids:
      assert bytes((row - 2).tolist()) in source[:1800]


def test_a_length_beyond_the_records_of_a_split_is_refused(data_dir):
  message = 'length is 101, but the split validation of bytes_folder has 100'
  with pytest.raises(ReformerError, match=re.escape(message)):
    text_inputs('bytes_folder', str(data_dir), length=101)


def test_prepared_enwik8_comes_before_the_raw_file(tmp_path, capsys):
  source = tmp_path / 'source'
  source.mkdir()
  start = b'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.3/"'
  (source / 'enwik8').write_bytes(start * 60)
  text_inputs('enwik8', str(source), length=16)
  raw = capsys.readouterr().out
  command = ['prepare', 'enwik8', f'--data_dir={tmp_path / "data"}']
  assert cli.main([*command, f'--manual_dir={source}', '--length=32']) == 0
  capsys.readouterr()
  inputs = text_inputs('enwik8', str(tmp_path / 'data'), length=16)
  prepared = capsys.readouterr().out
  assert f'from {source}' in raw and 'PREFIX' in raw
  assert 'PREFIX' in prepared and raw != prepared
  parts = [inputs.text(split) for split in ('train', 'validation', 'test')]
  assert b''.join(part.tobytes() for part in parts) == start * 60

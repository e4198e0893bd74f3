"""Random access to prepared data."""

import shutil
from concurrent import futures

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.data.builders import fake
from trax_reformer_ext import ReformerError
from trax_reformer_ext.data.builders import BUILDERS
from trax_reformer_ext.data.records import Records, open_records

DATA = fake.text(10_050)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  """A data directory with two lengths of the same prefix, in four shards."""
  data_dir = tmp_path_factory.mktemp('data')
  manual = tmp_path_factory.mktemp('manual')
  (manual / 'enwik8').write_bytes(DATA)
  config = tfds.download.DownloadConfig(
    manual_dir=manual, num_shards=4, try_download_gcs=False
  )
  for length in (64, 100):
    builder = BUILDERS['enwik8'](data_dir=data_dir, length=length, prefix=True)
    builder.download_and_prepare(download_config=config)
  return data_dir


@pytest.fixture
def data_dir(made, tmp_path):
  """A copy that a test may damage."""
  return shutil.copytree(made, tmp_path / 'data')


def test_records_in_any_order_are_the_data(made):
  records = open_records('enwik8', made, 'train', length=100)
  assert len(records) == 91 and records.length == 100
  assert records.n_tokens == 9045 and records.vocab_size == 258
  assert records.name == 'enwik8'
  assert 'a PREFIX of the 100,000,000' in records.description
  expected = np.frombuffer(DATA, np.uint8)[:9045].astype(np.int32) + 2
  expected = np.pad(expected, (0, 55)).reshape(91, 100)
  for i in np.random.default_rng(0).permutation(91):
    record = records[int(i)]
    assert record.dtype == np.int32 and record.shape == (100,)
    np.testing.assert_array_equal(record, expected[i])
  np.testing.assert_array_equal(records[-1], expected[-1])
  for i in (91, -92):
    with pytest.raises(IndexError):
      records[i]


def test_records_are_those_of_tfds(made):
  name = 'enwik8/prefix_length100'
  dataset = tfds.load(name, split='validation', data_dir=str(made))
  records = open_records('enwik8', str(made), 'validation', length=100)
  rows = [example['inputs'] for example in tfds.as_numpy(dataset)]
  np.testing.assert_array_equal(rows, [records[i] for i in range(len(rows))])
  assert len(rows) == len(records)


def test_threads_share_records(made):
  records = open_records('enwik8', made, 'train', length=64)
  alone = [records[i] for i in range(len(records))]
  with futures.ThreadPoolExecutor(8) as pool:
    for _ in range(3):
      together = list(pool.map(records.__getitem__, range(len(records))))
      np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize(
  'split,config,message',
  [
    ('train', {}, 'several times \\(length=100 .*, length=64 .*\\): say which'),
    (
      'train',
      {'length': 5},
      'is prepared with length=100 prefix=True or length=64 prefix=True, not '
      'with length=5: run trax-reformer prepare enwik8 --data_dir=.* '
      '--length=5',
    ),
    ('dev', {'length': 64}, "split is 'dev'.*give one of .*validation"),
  ],
)
def test_what_is_not_there_is_said(split, config, message, made):
  with pytest.raises(ReformerError, match=message):
    open_records('enwik8', made, split, **config)


def test_what_is_not_prepared_is_said(tmp_path):
  with pytest.raises(ReformerError) as error:
    open_records('imagenet64', tmp_path, 'train', source='npz')
  assert (
    f'run trax-reformer prepare imagenet64/npz --data_dir={tmp_path}'
  ) in str(error.value)


def test_an_unfinished_directory_is_not_opened(data_dir):
  folder = data_dir / 'enwik8' / 'prefix_length64'
  (folder / '1.0.0').rename(folder / 'incomplete.AB12CD_1.0.0')
  with pytest.raises(ReformerError, match='prepared with length=100'):
    open_records('enwik8', data_dir, 'train', length=64)


def shard(data_dir):
  (path,) = data_dir.glob('enwik8/prefix_length64/*/*train*-00003-of-*')
  return path


def test_a_file_that_is_cut_off_is_named(data_dir):
  path = shard(data_dir)
  path.write_bytes(path.read_bytes()[:-10])
  with pytest.raises(ReformerError, match=f'{path} has .* bytes, not the'):
    open_records('enwik8', data_dir, 'train', length=64)


def test_a_file_that_is_cut_off_later_is_named(data_dir):
  records = open_records('enwik8', data_dir, 'train', length=64)
  path = shard(data_dir)
  path.write_bytes(path.read_bytes()[:-10])
  with pytest.raises(ReformerError, match=f'{path} is damaged at record'):
    for i in range(len(records)):
      records[i]


def test_a_missing_file_is_named(data_dir):
  path = shard(data_dir)
  path.unlink()
  with pytest.raises(ReformerError, match=f'{path} cannot be read'):
    open_records('enwik8', data_dir, 'train', length=64)


def test_framing_that_is_damaged_is_named(data_dir):
  path = shard(data_dir)
  data = bytearray(path.read_bytes())
  data[0] ^= 1
  path.write_bytes(data)
  records = open_records('enwik8', data_dir, 'train', length=64)
  with pytest.raises(ReformerError, match=f'{path} is damaged at record 0'):
    for i in range(len(records)):
      records[i]


def test_the_info_of_a_builder_will_do(made):
  builder = BUILDERS['enwik8'](data_dir=made, length=64, prefix=True)
  assert len(Records(builder.info, 'test')) == 8

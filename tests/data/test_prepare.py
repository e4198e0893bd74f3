"""trax-reformer prepare, as a user runs it."""

import itertools
import lzma
import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import simple_parsing
import tensorflow_datasets as tfds
from tensorflow_datasets.scripts.cli import build
from trax import data as trax_data
from trax.data import tf_inputs

from tests.data.builders import fake
from tests.data.prepared import SPLITS, all_records, as_bytes, complete
from trax_reformer_ext import ReformerError, cli
from trax_reformer_ext.data import sources, writing
from trax_reformer_ext.data.records import Records, open_records, prepared_infos


def test_it_says_what_it_wrote(call, manual, data_dir):
  (manual / 'enwik8').write_bytes(fake.text(100_000))
  code, out, err = call('enwik8', '--length=1000')
  folder = data_dir / 'enwik8' / 'prefix_length1000' / '1.0.0'
  size = sum(f.stat().st_size for f in folder.iterdir())
  assert code == 0 and err == ''
  assert out.splitlines() == [
    f'enwik8/prefix_length1000 prepared: {folder} ({size:,} bytes)',
    'Data: enwik8 from enwik8: 100,000 bytes, a PREFIX of the 100,000,000: '
    'figures on it compare only with others on the same bytes',
    '  train              90 sequences of 1,000           90,000 tokens',
    '  validation          5 sequences of 1,000            5,000 tokens',
    '  test                5 sequences of 1,000            5,000 tokens',
  ]
  before = {f: f.stat().st_mtime_ns for f in folder.iterdir()}
  code, out, _ = call('enwik8', '--length=1000')
  assert code == 0 and 'enwik8/prefix_length1000 is already there' in out
  assert before == {f: f.stat().st_mtime_ns for f in folder.iterdir()}


def test_prepared_data_on_a_disk_that_is_read_only_is_there(
  call, manual, data_dir, monkeypatch
):
  (manual / 'enwik8').write_bytes(fake.text(1000))
  assert call('enwik8')[0] == 0

  def fail(*_, **__):
    raise PermissionError(13, 'Permission denied')

  monkeypatch.setattr(writing, 'alone', fail)
  assert call('enwik8')[0] == 0


@pytest.fixture
def few_skipped(monkeypatch):
  """data_streams without reading up to 100,000 examples before the first."""
  if sys.version_info >= (3, 12) and isinstance(
    tf_inputs._MAX_SKIP_EXAMPLES, float
  ):
    pytest.skip("Trax's data_streams gives randint a float, up to Python 3.11")
  monkeypatch.setattr(tf_inputs, '_MAX_SKIP_EXAMPLES', 10)


@pytest.fixture
def whole(manual, monkeypatch):
  """A text that passes for the whole of enwik8."""
  data = fake.text(400_000)
  monkeypatch.setattr(sources, '_ENWIK8_BYTES', len(data))
  sha1 = sources.hashlib.sha1(data).hexdigest()
  monkeypatch.setattr(sources, '_ENWIK8_SHA1', sha1)
  with zipfile.ZipFile(manual / 'enwik8.zip', 'w') as archive:
    archive.writestr('enwik8', data)
  return data


def test_tfds_and_trax_load_enwik8_by_its_name(
  few_skipped, whole, call, data_dir
):
  code, out, _ = call('enwik8')
  assert code == 0 and 'PREFIX' not in out
  dataset, info = tfds.load(
    'enwik8',
    split='train',
    data_dir=data_dir,
    as_supervised=True,
    with_info=True,
  )
  inputs, targets = next(iter(tfds.as_numpy(dataset)))
  assert inputs.dtype == np.int32 and info.supervised_keys[0] == 'inputs'
  assert as_bytes(inputs) == whole[:65536]
  np.testing.assert_array_equal(inputs, targets)

  streams = trax_data.data_streams('enwik8', data_dir=str(data_dir))
  for stream in streams:
    for inputs, targets in itertools.islice(stream(), 2):
      assert inputs.shape == (65536,) and inputs.dtype == np.int32
      np.testing.assert_array_equal(inputs, targets)


def test_tfds_and_trax_load_a_prefix_by_its_config(
  few_skipped, call, manual, data_dir
):
  (manual / 'enwik8').write_bytes(fake.text(10_000))
  name = 'enwik8/prefix_length128'
  assert call(name)[0] == 0
  train, _ = trax_data.data_streams(name, data_dir=str(data_dir))
  assert next(train())[0].shape == (128,)
  dataset = tfds.load(name, split='test', data_dir=data_dir)
  rows = [x['inputs'] for x in tfds.as_numpy(dataset)]
  assert as_bytes(np.concatenate(rows)[:500]) == fake.text(10_000)[-500:]


@pytest.mark.parametrize('name', ['enwik8', 'enwik8/length1024'])
def test_tfds_build(name, whole, manual, data_dir):
  # The tfds command imports apache_beam and mlcroissant, which TFDS does not
  # require: this is its `build`, without the rest.
  arguments = simple_parsing.parse(
    build.Args,
    args=[
      name,
      '--imports=trax_reformer_ext',
      f'--data_dir={data_dir}',
      f'--manual_dir={manual}',
    ],
  )
  arguments.execute()
  assert as_bytes(all_records('enwik8', data_dir)) == whole


def test_the_whole_is_preferred_to_a_prefix(whole, call, manual, data_dir):
  assert call('enwik8', '--length=1000')[0] == 0
  (manual / 'enwik8.zip').unlink()
  (manual / 'enwik8').write_bytes(whole[:100_000])
  assert call('enwik8', '--length=1000')[0] == 0
  assert as_bytes(all_records('enwik8', data_dir, length=1000)) == whole
  ids = all_records('enwik8', data_dir, length=1000, prefix=True)
  assert as_bytes(ids) == whole[:100_000]


def test_bytes_folder(call, data_dir, tmp_path):
  texts = tmp_path / 'texts'
  texts.mkdir()
  for name in 'cab':
    (texts / name).write_bytes(f'{name} naïve \xff'.encode('latin-1') * 100)
  code, out, _ = call('bytes_folder', f'--path={texts}', '--length=256')
  assert code == 0 and f'Data: {texts}: 2,700 bytes in 3 files' in out
  ids = all_records('bytes_folder', data_dir, path=str(texts), length=256)
  assert as_bytes(ids) == b''.join((texts / x).read_bytes() for x in 'abc')
  (texts / 'd').write_bytes(b'one more')
  code, _, err = call('bytes_folder', f'--path={texts}', '--length=256')
  assert code == 1 and 'holds other files than when' in err
  with pytest.raises(ReformerError, match=f'not with path={tmp_path}/other'):
    open_records('bytes_folder', data_dir, 'train', path=tmp_path / 'other')


def test_a_killed_command_leaves_nothing_that_looks_complete(
  call, manual, data_dir, tmp_path
):
  data = np.random.default_rng(0).integers(0, 256, 40_000_000, np.uint8)
  (tmp_path / 'large').write_bytes(data.tobytes())
  arguments = [f'--path={tmp_path / "large"}', '--length=65536']
  process = subprocess.Popen(
    [
      *(sys.executable, '-m', 'trax_reformer_ext', 'prepare', 'bytes_folder'),
      *(f'--data_dir={data_dir}', *arguments),
    ],
    stderr=subprocess.DEVNULL,
  )
  deadline = time.monotonic() + 60
  left = []
  while not left and time.monotonic() < deadline:
    left = list(data_dir.glob('*/*/incomplete*'))
    time.sleep(0.005)
  code, _, err = call('bytes_folder', *arguments)
  assert code == 1 and 'is being prepared by another process' in err
  os.kill(process.pid, signal.SIGKILL)
  assert process.wait() == -signal.SIGKILL
  assert complete(data_dir) == [] and left[0].exists()
  with pytest.raises(ReformerError, match='is not prepared in'):
    open_records('bytes_folder', data_dir, 'train')

  code, out, _ = call('bytes_folder', *arguments)
  assert code == 0 and 'prepared: ' in out
  assert not left[0].exists()
  assert as_bytes(all_records('bytes_folder', data_dir)) == data.tobytes()


def test_help_has_examples(capsys):
  with pytest.raises(SystemExit):
    cli.main(['prepare', '--help'])
  assert (
    'trax-reformer prepare enwik8 --data_dir=data' in capsys.readouterr()[0]
  )


def test_the_prefix_of_enwik8(real, call, data_dir):
  code, out, _ = call('enwik8', manual_dir=real)
  assert code == 0 and '4,000,000 bytes, a PREFIX' in out
  with lzma.open(real / 'enwik8_first_4000000_bytes.xz') as f:
    assert as_bytes(all_records('enwik8', data_dir)) == f.read()


def test_imagenet64_from_an_npz_and_from_pngs(real, call, data_dir, tmp_path):
  with np.load(real / 'imagenet64_sample_900.npz') as f:
    images = f['images']
  path = fake.write_png_folder(tmp_path / 'pngs', images)
  code, out, _ = call('imagenet64', manual_dir=real)
  assert code == 0 and 'imagenet64/images prepared' in out
  assert 'imagenet64 from plain images, not a published data set' in out
  assert call('imagenet64', f'--path={path}')[0] == 0
  infos = prepared_infos('imagenet64', data_dir)
  assert len(infos) == 2
  for info in infos:
    parts = [Records(info, split) for split in SPLITS]
    rows = [part[i] for part in parts for i in range(len(part))]
    pixels = np.stack(rows).reshape(-1, 64, 64, 3)
    np.testing.assert_array_equal(pixels, images)

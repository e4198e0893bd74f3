"""trax-reformer prepare, as a user runs it."""

import itertools
import lzma
import os
import pathlib
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import simple_parsing
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.scripts.cli import build
from trax import data as trax_data

from tests.data.builders import fake
from trax_reformer_ext import ReformerError, cli
from trax_reformer_ext.data import prepare as prepare_lib
from trax_reformer_ext.data import sources
from trax_reformer_ext.data.records import Records, open_records, prepared_infos

SPLITS = ('train', 'validation', 'test')


@pytest.fixture
def manual(tmp_path):
  (tmp_path / 'manual').mkdir()
  return tmp_path / 'manual'


@pytest.fixture
def data_dir(tmp_path):
  return tmp_path / 'data'


@pytest.fixture
def call(capsys, manual, data_dir):
  """Runs the command in this process: (exit code, stdout, stderr)."""

  def run(name, *arguments, manual_dir=manual):
    arguments = [f'--data_dir={data_dir}', *arguments]
    arguments.append(f'--manual_dir={manual_dir}')
    code = cli.main(['prepare', name, *arguments])
    return code, *capsys.readouterr()

  return run


def all_records(name, data_dir, **config):
  """Ids of all splits, without padding."""
  parts = []
  for split in SPLITS:
    records = open_records(name, data_dir, split, **config)
    ids = np.concatenate([records[i] for i in range(len(records))])
    assert not ids[records.n_tokens :].any()
    parts.append(ids[: records.n_tokens])
  return np.concatenate(parts)


def as_bytes(ids):
  return (ids - 2).astype(np.uint8).tobytes()


def prepared(data_dir):
  """All that a later run could take for complete."""
  return sorted(data_dir.glob('*/*/[0-9]*'))


def assert_mistake(result, message, data_dir):
  code, _, err = result
  assert code == 1
  assert err.startswith('trax-reformer: error: ')
  assert message in err
  assert len(err.splitlines()) == 1
  assert prepared(data_dir) == []
  assert list(data_dir.glob('*/*/incomplete*')) == []


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

  monkeypatch.setattr(prepare_lib, '_alone', fail)
  assert call('enwik8')[0] == 0


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


def test_tfds_and_trax_load_enwik8_by_its_name(whole, call, data_dir):
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


def test_tfds_and_trax_load_a_prefix_by_its_config(call, manual, data_dir):
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


def test_image_folder_and_broken_images(call, data_dir, tmp_path):
  images = fake.images(40)
  path = fake.write_png_folder(tmp_path / 'images', images)
  whole = (path / '0007.png').read_bytes()
  (path / '0007.png').write_bytes(whole[: len(whole) // 2])
  (path / '0021.png').write_bytes(b'not an image')
  (path / '0022.png').write_bytes(fake.png(fake.images(1, 8, 8)[0]))
  result = call('image_folder', f'--path={path}')
  assert_mistake(result, '0007.png in ', data_dir)
  assert '--skip_broken' in result[2]

  code, out, _ = call('image_folder', f'--path={path}', '--skip_broken')
  assert code == 0
  assert 'Left out 3 that do not decode: 0007.png, 0021.png, 0022.png' in out
  pixels = all_records('image_folder', data_dir).reshape(-1, 64, 64, 3)
  kept = [i for i in range(40) if i not in (7, 21, 22)]
  np.testing.assert_array_equal(pixels, images[kept])


def _enwik8_wrong_bytes(manual, monkeypatch):
  data = fake.text(1000)
  monkeypatch.setattr(sources, '_ENWIK8_BYTES', len(data))
  (manual / 'enwik8').write_bytes(data)


def _enwik8_cut_off(manual, _):
  (manual / 'enwik8.xz').write_bytes(lzma.compress(fake.text(1000))[:-20])


def _tar_cut_off(manual, _):
  fake.write_png_tars(manual, fake.images(3), fake.images(2))
  path = manual / 'valid_64x64.tar'
  path.write_bytes(path.read_bytes()[:20_000])


def _tar_climbs(manual, _):
  image = fake.png(fake.images(1)[0])
  fake.write_png_tars(manual, fake.images(3), fake.images(2))
  fake.write_tar(manual / 'train_64x64.tar', [('../../evil.png', image)])


def _npz_cut_off(manual, _):
  fake.write_npz_zips(manual, fake.images(6), fake.images(2))
  path = manual / 'Imagenet64_train_part2_npz.zip'
  path.write_bytes(path.read_bytes()[:-1000])


def _npz_damaged(manual, _):
  fake.write_npz_zips(manual, fake.images(6), fake.images(2))
  path = manual / 'Imagenet64_train_part1_npz.zip'
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 255
  path.write_bytes(data)


def _npz_climbs(manual, _):
  fake.write_npz_zips(manual, fake.images(6), fake.images(2))
  path = manual / 'Imagenet64_val_npz.zip'
  fake.write_npz_zip(path, [('/etc/evil.npz', fake.images(2))])


def _npz_missing(manual, _):
  fake.write_npz_zips(manual, fake.images(6), fake.images(2))
  (manual / 'Imagenet64_val_npz.zip').unlink()


def _npz_of_objects(manual, _):
  objects = np.array([{}, {}], object)
  np.savez(manual / 'imagenet64.npz', images=objects)


def _too_few(manual, _):
  np.savez(manual / 'imagenet64.npz', images=fake.images(5))


BROKEN = {
  'wrong checksum': ('enwik8', _enwik8_wrong_bytes, 'its SHA-1 is not'),
  'enwik8 cut off': ('enwik8', _enwik8_cut_off, 'enwik8.xz cannot be unpacked'),
  'tar cut off': ('imagenet64', _tar_cut_off, 'valid_64x64.tar is cut off'),
  'tar climbs': ('imagenet64', _tar_climbs, "a member '../../evil.png', whose"),
  'npz cut off': ('imagenet64', _npz_cut_off, 'part2_npz.zip cannot be unpack'),
  'npz damaged': ('imagenet64', _npz_damaged, 'part1_npz.zip cannot be unpack'),
  'npz climbs': ('imagenet64', _npz_climbs, "a member '/etc/evil.npz', whose"),
  'npz missing': ('imagenet64', _npz_missing, 'val_npz.zip is missing'),
  'pickle': ('imagenet64', _npz_of_objects, 'it must be uint8'),
  'too few': ('imagenet64', _too_few, '5 images is too little to split'),
  'nothing': ('imagenet64', lambda *_: 0, 'looked in '),
}


@pytest.mark.parametrize('kind', BROKEN)
def test_broken_sources_are_named(kind, call, manual, data_dir, monkeypatch):
  name, make, message = BROKEN[kind]
  make(manual, monkeypatch)
  assert_mistake(call(name), message, data_dir)


MISTAKES = {
  'name': (['enwik9'], "NAME is 'enwik9': give one of bytes_folder, enwik8"),
  'config': (['enwik8/all'], 'NAME is enwik8/all: give one of enwik8/length'),
  'length': (['enwik8', '--length=0'], 'length is 0: give an int of at least'),
  'no length': (
    ['imagenet64', '--length=5'],
    '--length is 5, but imagenet64 has no such parameter',
  ),
  'no path': (['bytes_folder'], 'path is None: give a folder of files'),
  'path': (['image_folder', '--path=/nonexistent'], 'path /nonexistent cannot'),
}


@pytest.mark.parametrize('kind', MISTAKES)
def test_mistakes_are_said_in_one_line(kind, call, data_dir):
  arguments, message = MISTAKES[kind]
  assert_mistake(call(*arguments), message, data_dir)


@pytest.mark.parametrize('name', ['bytes_folder', 'image_folder'])
def test_an_empty_folder_is_said(name, call, data_dir, tmp_path):
  (tmp_path / 'empty').mkdir()
  result = call(name, f'--path={tmp_path / "empty"}')
  assert_mistake(result, f'path {tmp_path / "empty"} holds no ', data_dir)


def test_a_file_that_may_not_be_read_is_named(
  call, data_dir, tmp_path, monkeypatch
):
  path = tmp_path / 'secret.txt'
  path.write_bytes(b'x' * 100)
  path.chmod(0)
  if os.access(path, os.R_OK):  # root may read all
    opened = pathlib.Path.open

    def refuse(self, *arguments, **options):
      if self == path:
        raise PermissionError(13, 'Permission denied', str(self))
      return opened(self, *arguments, **options)

    monkeypatch.setattr(pathlib.Path, 'open', refuse)
  result = call('bytes_folder', f'--path={path}')
  assert_mistake(result, f'path {path} cannot be read (Permission', data_dir)


def test_a_data_dir_that_can_not_be_written(call, manual, tmp_path):
  (manual / 'enwik8').write_bytes(fake.text(1000))
  (tmp_path / 'data').write_text('a file')
  code, _, err = call('enwik8')
  assert code == 1 and f'--data_dir is {tmp_path / "data"}, but it cann' in err


@pytest.fixture
def small_disk(data_dir):
  """The data directory on a file system of 2 MB."""
  data_dir.mkdir()
  mount = ['mount', '-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', data_dir]
  done = subprocess.run(mount, capture_output=True)
  if done.returncode:
    pytest.skip(f'no file system can be mounted here: {done.stderr}')
  yield
  subprocess.run(['umount', data_dir], check=True)


def test_a_disk_that_is_full(small_disk, call, manual, data_dir):
  (manual / 'enwik8').write_bytes(fake.text(1_000_000))
  message = f'--data_dir is {data_dir}, but it cannot be written (No space left'
  assert_mistake(call('enwik8'), message, data_dir)


def test_a_disk_that_tensorflow_finds_full(call, manual, data_dir, monkeypatch):
  (manual / 'enwik8').write_bytes(fake.text(1000))

  def fail(*_):
    raise tf.errors.ResourceExhaustedError(None, None, 'x; No space left')

  monkeypatch.setattr(tf.io.TFRecordWriter, 'write', fail)
  assert_mistake(call('enwik8'), 'written (No space left on device', data_dir)


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
  assert prepared(data_dir) == [] and left[0].exists()
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


@pytest.fixture
def real():
  folder = os.environ.get('REFORMER_DATA')
  if not folder:
    pytest.skip('REFORMER_DATA does not name a folder of real data')
  return pathlib.Path(folder)


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

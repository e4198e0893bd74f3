"""What trax-reformer prepare says when something is wrong."""

import lzma
import os
import pathlib
import subprocess

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tests.data.builders import fake
from tests.data.prepared import all_records, assert_mistake, complete
from trax_reformer_ext.data import sources


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


def test_a_raw_file_in_the_data_directory(call, data_dir):
  data_dir.mkdir(exist_ok=True)
  (data_dir / 'enwik8').write_bytes(fake.text(1000))
  result = call('enwik8')
  assert_mistake(result, 'the file enwik8 is in the way of a folder', data_dir)
  assert f'--manual_dir={data_dir}' in result[2]


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


def test_enwik8_without_a_network(call, manual, data_dir, monkeypatch):
  def fail(*_):
    raise ConnectionError('Name or service not known')

  monkeypatch.setattr(tfds.download.DownloadManager, 'download', fail)
  code, _, err = call('enwik8')
  announced, mistake = err.splitlines()
  assert code == 1 and complete(data_dir) == []
  assert announced == 'Downloading http://mattmahoney.net/dc/enwik8.zip ...'
  assert 'enwik8 is missing: ' in mistake
  assert 'cannot be downloaded (ConnectionError): download it' in mistake


def test_a_directory_that_was_damaged(call, manual, data_dir):
  (manual / 'enwik8').write_bytes(fake.text(1000))
  assert call('enwik8')[0] == 0
  folder = data_dir / 'enwik8' / 'prefix_length65536' / '1.0.0'
  (folder / 'dataset_info.json').unlink()
  code, _, err = call('enwik8')
  assert code == 1 and f'{folder} is damaged: remove it to' in err
  assert len(err.splitlines()) == 1


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

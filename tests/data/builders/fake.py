"""Small fake source files."""

import io
import pathlib
import tarfile
import tempfile
import zipfile

import numpy as np
from PIL import Image

ENWIK8_START = b'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.3/"'


def folder():
  return pathlib.Path(tempfile.mkdtemp())


def text(n, seed=0):
  """Bytes that start as enwik8 does."""
  rest = np.random.default_rng(seed).integers(0, 256, n, np.uint8).tobytes()
  return (ENWIK8_START + rest)[:n]


def images(n, height=64, width=64, seed=0):
  """uint8 [n, height, width, 3]."""
  shape = (n, height, width, 3)
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def png(image):
  file = io.BytesIO()
  Image.fromarray(image).save(file, 'png')
  return file.getvalue()


def write_png_folder(path, pixels):
  path.mkdir(parents=True)
  for i, image in enumerate(pixels):
    (path / f'{i:04}.png').write_bytes(png(image))
  return path


def write_tar(path, members):
  """Writes an archive of (name, bytes)."""
  with tarfile.open(path, 'w') as archive:
    for name, data in members:
      member = tarfile.TarInfo(name)
      member.size = len(data)
      archive.addfile(member, io.BytesIO(data))


def write_png_tars(path, train, validation):
  for name, pixels in (('train', train), ('valid', validation)):
    members = [(f'{name}/{i:05}.png', png(x)) for i, x in enumerate(pixels)]
    write_tar(path / f'{name}_64x64.tar', members)


def write_npz_zip(path, parts):
  """Writes an archive of npz files from (name, uint8 [n, 64, 64, 3])."""
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    for name, pixels in parts:
      planes = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
      file = io.BytesIO()
      np.savez(file, data=planes, labels=np.arange(len(pixels)))
      archive.writestr(name, file.getvalue())


def write_npz_zips(path, train, validation):
  """Writes Imagenet64_*_npz.zip; the second part holds batches 2 and 10."""
  third = len(train) // 3
  one, two, ten = train[:third], train[third : 2 * third], train[2 * third :]
  write_npz_zip(
    path / 'Imagenet64_train_part1_npz.zip', [('train_data_batch_1.npz', one)]
  )
  write_npz_zip(
    path / 'Imagenet64_train_part2_npz.zip',
    [('train_data_batch_10.npz', ten), ('train_data_batch_2.npz', two)],
  )
  write_npz_zip(path / 'Imagenet64_val_npz.zip', [('val_data.npz', validation)])

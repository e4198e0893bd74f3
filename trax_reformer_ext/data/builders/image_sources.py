"""Images from folders and archives, which are streamed and never unpacked."""

import contextlib
import pathlib
import tarfile
import zipfile
import zlib
from typing import Any, NamedTuple

import numpy as np

from trax_reformer_ext.data.builders import folders
from trax_reformer_ext.errors import ReformerError

SUFFIXES = ('.png', '.jpg', '.jpeg')
_ARCHIVE_ERRORS = (
  zipfile.BadZipFile,
  zlib.error,
  EOFError,
  tarfile.TarError,
  NotImplementedError,  # an unknown compression
  RuntimeError,  # a password
)


class Images(NamedTuple):
  """Images that are read in order.

  Attributes:
    description: str, one line for the user.
    n: int, how many images there are at most.
    read: function of (start, stop) that yields pairs of a name and either the
      bytes of an image file or uint8 [height, width, 3].
  """

  description: str
  n: int
  read: Any


def from_path(path):
  """Images of a folder of image files, or of an npz file.

  Args:
    path: str, a folder with .png and .jpg files, or an npz file whose `images`
      are uint8 [n, height, width, 3].

  Returns:
    Images, in the order of the file names or of the array.

  Raises:
    ReformerError: there is nothing of that kind, or it can't be read.
  """
  if pathlib.Path(path).suffix == '.npz':
    return _npz(path)
  files = folders.list_files(path, SUFFIXES)

  def read(start, stop):
    for name, file in files[start:stop]:
      try:
        yield name, file.read_bytes()
      except OSError as e:
        raise ReformerError(f'path {file} cannot be read ({e.strerror})') from e

  return Images(f'{path}: {len(files):,} image files', len(files), read)


def from_tar(path):
  """Images of an uncompressed tar archive of .png files.

  Args:
    path: pathlib.Path.

  Returns:
    Images, in the order of the archive; n is an upper limit.

  Raises:
    ReformerError: the archive is missing or cut off, or, while it is read, one
      of its members has a path that climbs out.
  """
  try:
    size = path.stat().st_size
    with open(path, 'rb') as f:
      f.seek(max(0, size - 1024))
      end = f.read()
  except OSError as e:
    raise ReformerError(f'{path} cannot be read ({e.strerror})') from e
  if len(end) < 1024 or any(end):  # archives end with two empty blocks
    raise ReformerError(f'{path} is cut off or no tar archive: get it again')

  def read(start, stop):
    del start, stop  # all of it
    with _errors_of(path), tarfile.open(path, 'r:') as archive:
      for member in archive:
        archive.members = []  # or else it keeps all that it has seen
        check_member(path, member.name)
        if member.isreg() and member.name.lower().endswith(SUFFIXES):
          yield member.name, archive.extractfile(member).read()

  # A member takes two blocks of 512 bytes at least.
  return Images(str(path), size // 1024, read)


def from_zips(paths):
  """Images of zip archives of npz files, as Imagenet64_train_part1_npz.zip.

  Their `data` are uint8 [n, 3 * 64 * 64] with the three colours one after the
  other.

  Args:
    paths: list of pathlib.Path.

  Returns:
    Images, in the order of the paths and of the numbers in the members' names.

  Raises:
    ReformerError: an archive is missing or broken, or one of its members has a
      path that climbs out.
  """
  parts = [part for path in paths for part in _members(path)]
  counts = []
  for path, name in parts:
    with _errors_of(path), zipfile.ZipFile(path) as archive:
      with archive.open(name) as f, _Rows(f'{path}: {name}', f, 'data') as rows:
        if rows.shape[1:] != (3 * 64 * 64,):
          raise ReformerError(
            f'{path}: data in {name} is {list(rows.shape)}: it must be '
            '[n, 12288]'
          )
        counts.append(rows.shape[0])

  def read(start, stop):
    del start, stop  # all of it
    for path, name in parts:
      with _errors_of(path), zipfile.ZipFile(path) as archive:
        with archive.open(name) as f, _Rows(name, f, 'data') as rows:
          for i, row in enumerate(rows):
            planes = row.reshape(3, 64, 64)
            yield f'{name}[{i}]', np.transpose(planes, (1, 2, 0))

  names = ', '.join(str(path) for path in paths)
  return Images(names, sum(counts), read)


def check_member(archive, name):
  """Refuses the name of a member that lies outside of its archive."""
  path = pathlib.PurePosixPath(name.replace('\\', '/'))
  if path.is_absolute() or '..' in path.parts or ':' in path.parts[:1]:
    raise ReformerError(
      f'{archive} has a member {name!r}, whose path climbs out of the archive: '
      'do not trust it, and get it again'
    )


def _npz(path):
  with _errors_of(path), _Rows(path, path, 'images') as rows:
    shape = rows.shape
  if len(shape) != 4 or shape[3] != 3:
    raise ReformerError(
      f'{path}: images is {list(shape)}: it must be [n, height, width, 3]'
    )

  def read(start, stop):
    with _errors_of(path), _Rows(path, path, 'images') as rows:
      rows.skip(start)
      for i in range(start, stop):
        yield f'{pathlib.Path(path).name}[{i}]', next(rows)

  return Images(f'{path}: {shape[0]:,} images', shape[0], read)


def _members(path):
  with _errors_of(path), zipfile.ZipFile(path) as archive:
    names = archive.namelist()
  for name in names:
    check_member(path, name)
  names = [name for name in names if name.endswith('.npz')]
  if not names:
    raise ReformerError(f'{path} has no .npz members: get it again')
  # Shorter ones first: train_data_batch_10 comes after train_data_batch_2.
  return [(path, name) for name in sorted(names, key=lambda n: (len(n), n))]


class _Rows:
  """Iterates over the rows of an array in an npz file, one at a time."""

  def __init__(self, name, file, key):
    """Reads the header of the array.

    Args:
      name: str, for errors.
      file: path or file object of the npz file.
      key: str, name of an array that is uint8 [n, ...].
    """
    self._zip = zipfile.ZipFile(file)
    if f'{key}.npy' not in self._zip.namelist():
      raise ReformerError(f'{name} has no array {key}: get another file')
    self._file = self._zip.open(f'{key}.npy')
    try:
      version = np.lib.format.read_magic(self._file)
      read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
      }[version]
      self.shape, fortran, dtype = read_header(self._file)
    except (ValueError, KeyError) as e:
      raise ReformerError(f'{name}: {key} is no array ({e})') from e
    if dtype != np.uint8 or fortran or not self.shape:
      raise ReformerError(
        f'{name}: {key} is {dtype} {list(self.shape)}: it must be uint8 in '
        'C order'
      )
    self._row_size = int(np.prod(self.shape[1:]))
    self._left = self.shape[0]

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._file.close()
    self._zip.close()

  def __iter__(self):
    return self

  def __next__(self):
    if self._left == 0:
      raise StopIteration
    self._left -= 1
    data = self._file.read(self._row_size)
    if len(data) < self._row_size:
      raise EOFError('the array is cut off')
    return np.frombuffer(data, np.uint8).reshape(self.shape[1:])

  def skip(self, n):
    self._file.seek(n * self._row_size, 1)
    self._left -= n


@contextlib.contextmanager
def _errors_of(path):
  """Turns the errors of reading an archive into ReformerErrors."""
  try:
    yield
  except FileNotFoundError as e:
    raise ReformerError(
      f'{path} is missing: put it there, or name another source'
    ) from e
  except OSError as e:
    raise ReformerError(f'{path} cannot be read ({e.strerror or e})') from e
  except _ARCHIVE_ERRORS as e:
    raise ReformerError(f'{path} cannot be unpacked ({e}): get it again') from e

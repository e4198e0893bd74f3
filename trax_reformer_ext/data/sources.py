"""Where bytes of text come from: the standard library, or enwik8."""

import hashlib
import lzma
import os
import pathlib
import sysconfig
import zipfile
import zlib
from typing import NamedTuple

import numpy as np

from trax_reformer_ext.data.tokens import split_borders
from trax_reformer_ext.errors import ReformerError

_PACKAGES = (
  'asyncio',
  'collections',
  'concurrent',
  'email',
  'http',
  'importlib',
  'json',
  'logging',
  'multiprocessing',
  'unittest',
  'urllib',
  'xml',
)
_ENWIK8_BYTES = 100_000_000
ENWIK8_URL = 'http://mattmahoney.net/dc/enwik8.zip'
ENWIK8_NAMES = ('enwik8', 'enwik8.zip', 'enwik8.xz')
_ENWIK8_SHA1 = '57b8363b814821dc9d47aa4d41f58733519076b2'
_ENWIK8_START = b'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.3/"'
# Compressed files are read in pieces, so that a small one can't fill memory.
_PIECE = 1 << 20


class Text(NamedTuple):
  """Bytes of a text, in its three parts.

  Attributes:
    name: str.
    description: str, one line for the user.
    splits: dict from 'train', 'validation' and 'test' to uint8 [n_bytes].
  """

  name: str
  description: str
  splits: dict


def load_text(name, data_dir=None):
  """Loads a text by name and splits it 90/5/5 by bytes.

  Args:
    name: 'python_stdlib' or 'enwik8'.
    data_dir: str, where enwik8 lies; None for the environment variable
      REFORMER_DATA or, without it, TFDS's folder of manual downloads.

  Returns:
    Text.

  Raises:
    ReformerError: an unknown name, or data that is missing or broken.
  """
  sources = {'enwik8': _enwik8, 'python_stdlib': _python_stdlib}
  if name not in sources:
    raise ReformerError(
      f'dataset_name is {name!r}: give one of {", ".join(sorted(sources))}'
    )
  data, description = sources[name](data_dir)
  data = np.frombuffer(data, np.uint8)
  borders = split_borders(len(data))
  splits = {name: data[slice(*border)] for name, border in borders.items()}
  return Text(name, description, splits)


def default_data_dir():
  """The folder in which data files are looked for."""
  return manual_dir(pathlib.Path('~/tensorflow_datasets').expanduser())


def manual_dir(data_dir):
  """$REFORMER_DATA, or TFDS's folder of manual downloads in data_dir."""
  folder = os.environ.get('REFORMER_DATA')
  if folder:
    return pathlib.Path(folder).expanduser()
  return data_dir / 'downloads' / 'manual'


def _python_stdlib(data_dir):
  """The running Python's own library: modules at the top and some packages."""
  del data_dir  # it comes with Python
  root = pathlib.Path(sysconfig.get_path('stdlib'))
  files = [f for f in root.glob('*.py') if f.is_file()]
  missing = []
  for package in _PACKAGES:
    found = sorted((root / package).rglob('*.py'))
    missing += [] if found else [package]
    files += found
  if not files:
    raise ReformerError(
      f"dataset_name is 'python_stdlib', but {root} holds no .py files: use a "
      'Python that ships its library as source'
    )
  # Posix names, so that every system sorts alike.
  files.sort(key=lambda f: f.relative_to(root).as_posix())
  data = b''.join(f.read_bytes() for f in files)
  version = sysconfig.get_config_var('py_version')
  description = (
    f'the standard library of Python {version}: {len(data):,} bytes in '
    f'{len(files)} files'
  )
  if missing:
    description += f' (not found there: {", ".join(missing)})'
  return data, description


def _enwik8(data_dir):
  """The first 10^8 bytes of English Wikipedia, or a prefix of them."""
  folder = default_data_dir()
  if data_dir is not None:
    folder = pathlib.Path(data_dir).expanduser()
  path = find_enwik8(folder)
  if path is None:
    raise ReformerError(
      f'enwik8 is missing: looked in {folder} for {", ".join(ENWIK8_NAMES)}; '
      f'download {ENWIK8_URL} to there, or name its folder by --data_dir'
    )
  data = read_enwik8(path)
  return data, describe_enwik8(path, data)


def find_enwik8(folder):
  """Path of enwik8 in a folder, or of a prefix of it, or None."""
  prefixes = sorted(p.name for p in folder.glob('enwik8_first_*_bytes.xz'))
  paths = [folder / name for name in (*ENWIK8_NAMES, *prefixes)]
  return next((p for p in paths if p.is_file()), None)


def read_enwik8(path):
  """Reads enwik8, or a prefix of it.

  Args:
    path: pathlib.Path of a plain, zipped or xz file.

  Returns:
    bytes.

  Raises:
    ReformerError: the file can't be read, or is not enwik8.
  """
  data = _read(path)
  _check_enwik8(path, data)
  return data


def is_prefix(data):
  """Whether the bytes of enwik8 are not all of it."""
  return len(data) < _ENWIK8_BYTES


def describe_enwik8(path, data):
  """One line for the user."""
  description = f'enwik8 from {path}: {len(data):,} bytes'
  if is_prefix(data):
    description += (
      f', a PREFIX of the {_ENWIK8_BYTES:,}: figures on it compare only with '
      'others on the same bytes'
    )
  return description


def _read(path):
  """All bytes of a plain, zipped or xz file, and not more than enwik8 has."""
  try:
    if path.suffix == '.zip':
      with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if 'enwik8' not in names:
          raise ReformerError(
            f'{path} has no member enwik8 (it has {", ".join(names[:5])}): '
            f'download {ENWIK8_URL}'
          )
        with archive.open('enwik8') as f:
          return _read_at_most(f)
    opener = lzma.open if path.suffix == '.xz' else open
    with opener(path, 'rb') as f:
      return _read_at_most(f)
  except (
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    RuntimeError,
  ) as e:
    raise ReformerError(
      f'{path} cannot be unpacked ({e}): download {ENWIK8_URL} again'
    ) from e
  except OSError as e:
    raise ReformerError(f'{path} cannot be read ({e})') from e


def _read_at_most(f):
  """Reads up to one byte more than enwik8 has."""
  pieces, left = [], _ENWIK8_BYTES + 1
  while left > 0:
    piece = f.read(min(_PIECE, left))
    if not piece:
      break
    pieces.append(piece)
    left -= len(piece)
  return b''.join(pieces)


def _check_enwik8(path, data):
  start = data[: len(_ENWIK8_START)]
  if start != _ENWIK8_START:
    raise ReformerError(
      f'{path} is not enwik8: it starts with {start[:24]!r}, not with '
      f'{_ENWIK8_START[:24]!r}; download {ENWIK8_URL}'
    )
  if len(data) > _ENWIK8_BYTES:
    raise ReformerError(
      f'{path} is not enwik8: it has more than {_ENWIK8_BYTES:,} bytes; '
      f'download {ENWIK8_URL}'
    )
  full = len(data) == _ENWIK8_BYTES
  if full and hashlib.sha1(data).hexdigest() != _ENWIK8_SHA1:
    raise ReformerError(
      f'{path} is not enwik8: its SHA-1 is not {_ENWIK8_SHA1}; download '
      f'{ENWIK8_URL} again'
    )

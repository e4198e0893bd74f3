"""A user's own files, plain or packed."""

import contextlib
import gzip
import lzma
import pathlib
import zlib

from trax_reformer_ext.errors import ReformerError

_OPENERS = {'.gz': gzip.open, '.xz': lzma.open}


@contextlib.contextmanager
def opened(name, path, suffixes=tuple(_OPENERS), advice=''):
  """Opens a file for reading bytes, and says what is wrong with it.

  Args:
    name: str, the parameter that the path is the value of.
    path: str or pathlib.Path.
    suffixes: tuple of str, of '.gz' and '.xz': files that end so are unpacked.
    advice: str, ends the error of a file that can't be read.

  Yields:
    Binary file.

  Raises:
    ReformerError: the file is missing, or damaged where it is read.
  """
  suffix = pathlib.Path(path).suffix
  try:
    with (_OPENERS[suffix] if suffix in suffixes else open)(path, 'rb') as f:
      yield f
  except (gzip.BadGzipFile, lzma.LZMAError, EOFError, zlib.error) as e:
    raise ReformerError(
      f'{name} {path} cannot be unpacked ({e}): get it again'
    ) from e
  except OSError as e:
    raise ReformerError(
      f'{name} {path} cannot be read ({e.strerror}){advice}'
    ) from e

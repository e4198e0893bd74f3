"""Files of lines that a command reads and writes; '-' is the terminal."""

import gzip
import os
import sys
import zlib

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.files import written_beside


def read_bytes(path, flag, wanted='a text file'):
  """What a file holds.

  Args:
    path: str; NAME.gz is unpacked, '-' is stdin.
    flag: str, the flag that names it.
    wanted: str, what it should be.

  Raises:
    ReformerError: it can't be read.
  """
  try:
    return _read(os.path.expanduser(path))
  except (OSError, EOFError, zlib.error) as e:
    reason = getattr(e, 'strerror', None) or str(e)
    raise ReformerError(
      f'{flag} is {path!r}, which cannot be read ({reason}): give {wanted}, '
      'or one packed by gzip whose name ends in .gz'
    ) from e


def read_lines(path):
  """The lines of --input_file, without their ends.

  Args:
    path: str; NAME.gz is unpacked, '-' is stdin.

  Returns:
    List of str.

  Raises:
    ReformerError: it can't be read, or is not UTF-8.
  """
  content = read_bytes(path, '--input_file')
  lines = content.split(b'\n')
  if not lines[-1]:
    lines.pop()
  return [_decode(path, i, line) for i, line in enumerate(lines, 1)]


def check_output(path):
  """Refuses an --output_file that could not be written in the end.

  Raises:
    ReformerError: its folder is not there, or can't be written.
  """
  if path == '-':
    return
  full = os.path.abspath(os.path.expanduser(path))
  folder = os.path.dirname(full)
  if os.path.isdir(full) or not os.access(folder, os.W_OK | os.X_OK):
    raise ReformerError(
      f'--output_file is {path!r}, which cannot be written: give a file in a '
      'folder that exists'
    )


def write_lines(path, lines):
  """Writes lines to --output_file, which is seen when it is complete.

  Args:
    path: str; NAME.gz is packed, '-' is stdout.
    lines: list of str.

  Raises:
    ReformerError: it can't be written.
  """
  content = ''.join(f'{line}\n' for line in lines).encode()
  try:
    if path == '-':
      sys.stdout.flush()
      sys.stdout.buffer.write(content)
      sys.stdout.buffer.flush()
    else:
      _write(os.path.expanduser(path), content)
  except OSError as e:
    raise ReformerError(
      f'--output_file is {path!r}, which cannot be written ({e.strerror}): '
      'give another one'
    ) from e


def _read(path):
  if path == '-':
    return sys.stdin.buffer.read()
  unpack = gzip.open if path.endswith('.gz') else open
  with unpack(path, 'rb') as f:
    return f.read()


def _write(path, content):
  if path.endswith('.gz'):
    content = gzip.compress(content)
  with written_beside(path) as part, open(part, 'wb') as f:
    f.write(content)


def _decode(path, number, line):
  try:
    return line.removesuffix(b'\r').decode()
  except UnicodeDecodeError as e:
    raise ReformerError(
      f'--input_file is {path!r}, whose line {number} is not UTF-8 (byte '
      f'{e.start + 1} of it): convert the file to UTF-8'
    ) from e

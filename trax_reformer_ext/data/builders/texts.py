"""Texts of a user's own files, plain or packed."""

from trax_reformer_ext.data.builders import base, folders, packed
from trax_reformer_ext.errors import ReformerError


def read_texts(path):
  """Reads all files of a folder, one after the other, or one file.

  Args:
    path: str; files are UTF-8, and unpacked if they end in .gz or .xz.

  Returns:
    (bytes, int number of files).

  Raises:
    ReformerError: a file is missing, damaged or not UTF-8.
  """
  files = [file for _, file in folders.list_files(path)]
  return b''.join(_read(file) for file in files), len(files)


def split_text(data, what):
  """Splits a text 90/5/5 by its bytes, between two characters.

  Args:
    data: bytes in UTF-8.
    what: str, for the error.

  Returns:
    dict from 'train', 'validation' and 'test' to str.

  Raises:
    ReformerError: a part would be empty.
  """
  borders = base.split_borders(len(data), what)
  parts = {
    split: data[_next_character(data, start) : _next_character(data, stop)]
    for split, (start, stop) in borders.items()
  }
  if not all(parts.values()):
    raise ReformerError(
      f'{what} is too little to split 90/5/5: give at least 80'
    )
  return {split: part.decode() for split, part in parts.items()}


def _read(path):
  with packed.opened('path', path) as f:
    data = f.read()
  try:
    data.decode()
  except UnicodeDecodeError as e:
    raise ReformerError(
      f'path {path} is not UTF-8 at byte {e.start:,} ({e.reason}, '
      f'0x{data[e.start]:02x}): convert it, or prepare it as bytes_folder'
    ) from e
  return data


def _next_character(data, i):
  """The first place from i on where a character starts, or the end."""
  while i < len(data) and data[i] & 0xC0 == 0x80:
    i += 1
  return i

"""A user's own files, by the path of a folder or of one file."""

import hashlib
import os
import pathlib
import re

from trax_reformer_ext.errors import ReformerError


def list_files(path, suffixes=None):
  """The files of a folder and of the folders in it, or one file.

  Args:
    path: str.
    suffixes: tuple of str, such as '.png', to which files are limited; None
      for all.

  Returns:
    list of (name, pathlib.Path), sorted by the name, which is the posix path
    from the folder on.

  Raises:
    ReformerError: there is no such path, it can't be read, or it holds no such
      files.
  """
  root = pathlib.Path(path)
  if root.is_file():
    return [(root.name, root)]
  found = []
  try:
    for folder, _, names in os.walk(root, onerror=_fail):
      files = [pathlib.Path(folder) / name for name in names]
      found += [f for f in files if f.is_file()]
  except OSError as e:
    raise ReformerError(
      f'path {e.filename} cannot be read ({e.strerror})'
    ) from e
  if suffixes:
    found = [f for f in found if f.suffix.lower() in suffixes]
  if not found:
    kind = ' or '.join(suffixes) + ' files' if suffixes else 'files'
    raise ReformerError(f'path {root} holds no {kind}: give another folder')
  return sorted((f.relative_to(root).as_posix(), f) for f in found)


def absolute(path):
  """An absolute str of a path, or None of None."""
  return path and str(pathlib.Path(path).expanduser().resolve())


def label(*paths):
  """A short name for paths, for the names of directories."""
  name = re.sub(r'\W+', '_', pathlib.Path(paths[0]).name)[:40]
  digest = hashlib.sha1('\0'.join(paths).encode()).hexdigest()
  return f'{name}_{digest[:8]}'


def fingerprint(*paths):
  """str that changes with the names, sizes and times of the files."""
  files = [
    (name, file.stat().st_size, file.stat().st_mtime_ns)
    for path in paths
    for name, file in list_files(path)
  ]
  return hashlib.sha1(repr(files).encode()).hexdigest()


def _fail(error):
  raise error

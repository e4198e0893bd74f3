"""A list of a folder's files with their sha256, written last.

A folder with a manifest that agrees with its files is complete.
"""

import hashlib
import json
import os
import pathlib
import shutil

from trax_reformer_ext.files import written_beside

_NAME = 'manifest.json'


def write(folder, about):
  """Lists all files of a folder, which becomes complete by it.

  Args:
    folder: path.
    about: dict to keep in the manifest, of JSON's types.
  """
  folder = pathlib.Path(folder)
  content = {'about': about, 'files': _hashes(folder)}
  content['sha256'] = _hash_of(content)
  with (
    written_beside(str(folder / _NAME)) as part,
    open(part, 'w', encoding='utf-8') as f,
  ):
    json.dump(content, f, indent=1, sort_keys=True)
    f.flush()
    os.fsync(f.fileno())


def remove(folder):
  """Removes a folder that, while that takes, is not complete any more."""
  (pathlib.Path(folder) / _NAME).unlink()
  shutil.rmtree(folder)


def is_written(folder):
  """Whether the writing of a folder came to its end."""
  return (pathlib.Path(folder) / _NAME).is_file()


def about(folder):
  """What the manifest keeps beside the list of files; {} if it is damaged."""
  content = _read(pathlib.Path(folder))
  return content['about'] if content else {}


def find_damage(folder):
  """Compares a folder with its manifest.

  Returns:
    str, the first file that is not as it was written and how; None if all are.
  """
  folder = pathlib.Path(folder)
  content = _read(folder)
  if content is None:
    return f'{_NAME} is not as it was written'
  wanted, found = content['files'], _hashes(folder)
  for name in sorted(wanted):
    if name not in found:
      return f'{name} is missing'
    if found[name] != wanted[name]:
      return f'{name} is not as it was written'
  more = sorted(set(found) - set(wanted))
  return f'{more[0]} is not one of its files' if more else None


def _read(folder):
  """The content of a manifest, or None if it is not as it was written."""
  try:
    content = json.loads((folder / _NAME).read_bytes())
    sha256 = content.pop('sha256')
  except (OSError, ValueError, AttributeError, KeyError):
    return None
  return content if sha256 == _hash_of(content) else None


def _hashes(folder):
  hashes = {}
  for path in sorted(folder.rglob('*')):
    name = path.relative_to(folder).as_posix()
    if path.is_file() and name not in (_NAME, f'{_NAME}.part'):
      with open(path, 'rb') as f:
        hashes[name] = hashlib.file_digest(f, 'sha256').hexdigest()
  return hashes


def _hash_of(content):
  text = json.dumps(content, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()

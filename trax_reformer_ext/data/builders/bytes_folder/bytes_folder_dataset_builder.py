"""A user's own files as byte sequences."""

import bisect
import dataclasses
import itertools

import tensorflow_datasets as tfds

from trax_reformer_ext.data.builders import folders, token_builder
from trax_reformer_ext.errors import ReformerError


@dataclasses.dataclass(eq=False)
class BytesFolderConfig(token_builder.BytesConfig):
  """Parameters of a folder of files.

  Attributes:
    path: str, a folder, or one file.
  """

  path: str = None

  def __post_init__(self):
    super().__post_init__()
    if not self.path:
      raise ReformerError(f'path is {self.path!r}: give a folder of files')
    self.path = folders.absolute(self.path)
    self.name = f'{folders.label(self.path)}_length{self.length}'
    self.description = f'Sequences of {self.length:,} bytes of {self.path}'

  @property
  def paths(self):
    return [self.path]


class Builder(token_builder.TokenBuilder):
  """Byte sequences of all files of a folder, one after the other.

  In the order of their posix paths, whatever bytes they hold:
    trax-reformer prepare bytes_folder --path=my_texts --length=65536
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'Initial release.'}
  CONFIG = BytesFolderConfig

  def _source(self, dl_manager):
    del dl_manager  # the files are the user's own
    path = self.builder_config.path
    files = _Files([f for _, f in folders.list_files(path)])
    description = f'{path}: {len(files):,} bytes in {files.count:,} files'
    return token_builder.Source(description, len(files), files.read)


class _Files:
  """Files as one sequence of bytes."""

  def __init__(self, paths):
    self._paths = paths
    self._ends = list(itertools.accumulate(p.stat().st_size for p in paths))
    self.count = len(paths)

  def __len__(self):
    return self._ends[-1]

  def read(self, start, stop):
    """The bytes from start to stop, or an error."""
    pieces = []
    while start < stop:
      i = bisect.bisect_right(self._ends, start)
      end = min(stop, self._ends[i])
      pieces.append(self._read(i, start, end))
      start = end
    return b''.join(pieces)

  def _read(self, i, start, end):
    path = self._paths[i]
    try:
      with path.open('rb') as f:
        f.seek(start - (self._ends[i - 1] if i else 0))
        data = f.read(end - start)
    except OSError as e:
      raise ReformerError(f'path {path} cannot be read ({e.strerror})') from e
    if len(data) != end - start:
      raise ReformerError(
        f'path {path} became shorter while it was read: run this again'
      )
    return data

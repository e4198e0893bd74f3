"""enwik8, the first 10^8 bytes of English Wikipedia."""

import dataclasses
import errno
import functools
import pathlib
import re
import sys

import tensorflow_datasets as tfds

from trax_reformer_ext.data import sources
from trax_reformer_ext.data.builders import base, token_builder
from trax_reformer_ext.errors import ReformerError


@dataclasses.dataclass(eq=False)
class Enwik8Config(token_builder.BytesConfig):
  """Parameters of enwik8.

  Attributes:
    prefix: bool, whether the data is a prefix of enwik8, and not all of it.
  """

  prefix: bool = False

  def __post_init__(self):
    super().__post_init__()
    self.name = f'{"prefix_" if self.prefix else ""}length{self.length}'
    self.description = f'Sequences of {self.length:,} bytes' + (
      ' of a PREFIX of enwik8' if self.prefix else ''
    )


class Builder(token_builder.TokenBuilder):
  """Byte sequences of enwik8.

  The whole is taken from the manual directory or downloaded:
    tfds build --imports=trax_reformer_ext enwik8
  A prefix, with the same proportions of the splits, has a config of its own:
    tfds build --imports=trax_reformer_ext enwik8/prefix_length65536
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'Initial release.'}
  MANUAL_DOWNLOAD_INSTRUCTIONS = """\
  Not needed where http://mattmahoney.net/dc/enwik8.zip can be downloaded. Or
  else place one of these files there: enwik8, enwik8.zip, enwik8.xz, or (for
  the configs that are called prefix) a shorter one,
  enwik8_first_<number>_bytes.xz.
  """
  CONFIG = Enwik8Config
  # What `tfds build enwik8` makes; get_builder_config knows the others.
  BUILDER_CONFIGS = [Enwik8Config()]

  @classmethod
  def get_builder_config(cls, name, version=None):
    match = re.fullmatch(r'(prefix_)?length(\d+)', name)
    known = super().get_builder_config(name, version)
    if known or not match:
      return known
    return _config(int(match[2]), bool(match[1]))

  @classmethod
  def detect(cls, manual_dir):
    path = sources.find_enwik8(manual_dir)
    prefix = path is not None and sources.is_prefix(sources.read_enwik8(path))
    return {'prefix': prefix}

  def _source(self, dl_manager):
    folder = base.manual_dir(dl_manager)
    path = sources.find_enwik8(pathlib.Path(folder)) if folder else None
    if path is None:
      path = _download(dl_manager, folder)
    data = sources.read_enwik8(path)
    wanted = self.builder_config.prefix
    if sources.is_prefix(data) != wanted:
      name = dataclasses.replace(self.builder_config, prefix=not wanted).name
      raise ReformerError(
        f'{path} is {"all" if wanted else "only a prefix"} of enwik8, which '
        f'the config {self.builder_config.name} is not: use enwik8/{name}'
      )
    return token_builder.Source(
      sources.describe_enwik8(path.name, data),
      len(data),
      lambda start, stop: data[start:stop],
    )


@functools.cache
def _config(length, prefix):
  """The one object for these parameters."""
  return Enwik8Config(length=length, prefix=prefix)


def _download(dl_manager, folder):
  # It can take minutes, without a network too.
  print(f'Downloading {sources.ENWIK8_URL} ...', file=sys.stderr)
  try:
    return pathlib.Path(dl_manager.download(sources.ENWIK8_URL))
  except Exception as e:  # of sockets, TLS, HTTP and checksums
    if getattr(e, 'errno', None) == errno.ENOSPC:
      raise
    raise ReformerError(
      f'enwik8 is missing: {folder or "the manual directory"} has no '
      f'{", ".join(sources.ENWIK8_NAMES)}, and {sources.ENWIK8_URL} cannot be '
      f'downloaded ({type(e).__name__}): download it to there, or name its '
      'folder by --manual_dir'
    ) from e

"""ImageNet at 64x64, from one of three sources."""

import dataclasses
import pathlib

import tensorflow_datasets as tfds

from trax_reformer_ext.data.builders import (
  base,
  folders,
  image_builder,
  image_sources,
)
from trax_reformer_ext.errors import ReformerError

_PNG = {'train': 'train_64x64.tar', 'validation': 'valid_64x64.tar'}
_NPZ = {
  'train': (
    'Imagenet64_train_part1_npz.zip',
    'Imagenet64_train_part2_npz.zip',
  ),
  'validation': ('Imagenet64_val_npz.zip',),
}
_SOURCES = {
  'png': "the paper's PNGs",
  'npz': 'the npz archives of 2017, resized anew',
  'images': 'plain images, not a published data set',
}


@dataclasses.dataclass(eq=False)
class Imagenet64Config(base.ParametersConfig):
  """Parameters of ImageNet at 64x64.

  Attributes:
    source: str, 'png', 'npz' or 'images': these are different data.
    path: str, the folder or npz file of 'images'; None for what lies in the
      manual directory.
  """

  source: str = None
  path: str = None

  def __post_init__(self):
    self.source = self.source or ('images' if self.path else 'png')
    if self.source not in _SOURCES:
      raise ReformerError(
        f'source is {self.source!r}: give one of {", ".join(_SOURCES)}'
      )
    if self.path and self.source != 'images':
      raise ReformerError(
        f"path is {self.path!r} and source {self.source!r}: only 'images' has "
        'a path'
      )
    self.path = folders.absolute(self.path)
    self.name = self.source
    if self.path:
      self.name += f'_{folders.label(self.path)}'
    self.description = f'From {_SOURCES[self.source]}'

  @property
  def paths(self):
    return [self.path] if self.path else []


class Builder(image_builder.ImageBuilder):
  """ImageNet at 64x64.

  tfds build --imports=trax_reformer_ext imagenet64/png
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'Initial release.'}
  MANUAL_DOWNLOAD_INSTRUCTIONS = """\
  The config says which files have to be there, none of them unpacked:
  png: train_64x64.tar and valid_64x64.tar, PNGs as the paper used them;
  npz: Imagenet64_train_part1_npz.zip, Imagenet64_train_part2_npz.zip and
  Imagenet64_val_npz.zip, from https://image-net.org/download-images;
  images: a folder imagenet64 of .png and .jpg files, or imagenet64*.npz whose
  `images` are uint8 [n, height, width, 3].
  """
  CONFIG = Imagenet64Config
  BUILDER_CONFIGS = [Imagenet64Config(source=source) for source in _SOURCES]

  @classmethod
  def detect(cls, manual_dir):
    if (manual_dir / _PNG['train']).exists():
      return {'source': 'png'}
    if (manual_dir / _NPZ['train'][0]).exists():
      return {'source': 'npz'}
    if _find_images(manual_dir):
      return {'source': 'images'}
    files = [_PNG['train'], _NPZ['train'][0], 'imagenet64*.npz', 'imagenet64/']
    raise ReformerError(
      f'imagenet64 is missing: looked in {manual_dir} for {", ".join(files)}; '
      'name another folder by --manual_dir, or images by --path'
    )

  def _prefix_of_description(self):
    return f'imagenet64 from {_SOURCES[self.builder_config.source]}: '

  def _images(self, dl_manager):
    config = self.builder_config
    if config.path:
      return image_sources.from_path(config.path)
    folder = pathlib.Path(base.manual_dir(dl_manager) or '.')
    if config.source == 'png':
      return {
        split: image_sources.from_tar(folder / name)
        for split, name in _PNG.items()
      }
    if config.source == 'npz':
      return {
        split: image_sources.from_zips([folder / name for name in names])
        for split, names in _NPZ.items()
      }
    path = _find_images(folder)
    if path is None:
      raise ReformerError(
        f'imagenet64 is missing: {folder} has no imagenet64*.npz and no folder '
        'imagenet64'
      )
    return image_sources.from_path(path)


def _find_images(folder):
  paths = sorted(folder.glob('imagenet64*.npz')) + [folder / 'imagenet64']
  return next((str(p) for p in paths if p.exists()), None)

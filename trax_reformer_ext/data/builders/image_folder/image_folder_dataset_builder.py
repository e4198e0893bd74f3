"""A user's own images, of 64x64."""

import dataclasses

import tensorflow_datasets as tfds

from trax_reformer_ext.data.builders import (
  base,
  folders,
  image_builder,
  image_sources,
)
from trax_reformer_ext.errors import ReformerError


@dataclasses.dataclass(eq=False)
class ImageFolderConfig(base.ParametersConfig):
  """Parameters of a folder of images.

  Attributes:
    path: str, a folder of .png and .jpg files, or an npz file with `images`.
  """

  path: str = None

  def __post_init__(self):
    if not self.path:
      raise ReformerError(f'path is {self.path!r}: give a folder of images')
    self.path = folders.absolute(self.path)
    self.name = folders.label(self.path)
    self.description = f'Images of {self.path}'

  @property
  def paths(self):
    return [self.path]


class Builder(image_builder.ImageBuilder):
  """Images of a folder, in the order of their posix paths.

  trax-reformer prepare image_folder --path=my_images
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'Initial release.'}
  CONFIG = ImageFolderConfig

  def _images(self, dl_manager):
    del dl_manager  # the files are the user's own
    return image_sources.from_path(self.builder_config.path)

"""Builders of images as sequences of colour values."""

import abc

import numpy as np

from trax_reformer_ext.data.builders import base, image_sources
from trax_reformer_ext.data.pixels import SIZE, to_pixels
from trax_reformer_ext.errors import ReformerError


class ImageBuilder(base.SequenceBuilder, skip_registration=True):
  """Images of 64x64 as 12,288 ids from 0 to 255.

  Row by row, with the three colours of a pixel (red, green, blue) one after
  the other. Larger images are cropped to the square in their centre and
  resized with a box filter.
  """

  VOCAB_SIZE = 256

  @abc.abstractmethod
  def _images(self, dl_manager):
    """Returns Images, or a dict of them by split where there are splits."""

  def _sequence_length(self):
    return SIZE * SIZE * 3

  def _split_generators(self, dl_manager):
    images = self._images(dl_manager)
    if isinstance(images, image_sources.Images):
      description = images.description
      borders = base.split_borders(images.n, description)
      parts = {split: (images, *border) for split, border in borders.items()}
    else:
      description = '; '.join(x.description for x in images.values())
      parts = {split: (x, 0, x.n) for split, x in images.items()}
    self._describe(self._prefix_of_description() + description)
    return {
      split: self._generate_examples(split, *part)
      for split, part in parts.items()
    }

  def _prefix_of_description(self):
    return ''

  def _generate_examples(self, split, images, start, stop):
    metadata = self.info.metadata
    i = 0
    for name, image in images.read(start, stop):
      try:
        pixels = to_pixels(image)
      except Exception as e:  # Pillow's decoders raise errors of all kinds
        if not self._skip_broken:
          raise ReformerError(
            f'{name} in {images.description} is no image that can be used '
            f'({str(e).splitlines()[0]}): remove it, or leave out such images '
            'by --skip_broken'
          ) from e
        metadata['n_broken'] += 1
        metadata['broken'] = [*metadata['broken'], name][:100]
        continue
      ids = pixels.reshape(-1).astype(np.int32)
      yield base.ordered_key(i, images.n), {'inputs': ids}
      i += 1
    if i == 0:
      raise ReformerError(
        f'{images.description} has no images for the split {split}'
      )
    metadata['n_tokens'][split] = i * self._sequence_length()

"""Images of any size as 64x64 pixels."""

import io

import numpy as np
from PIL import Image

SIZE = 64


def to_pixels(image):
  """Cuts the square in the centre of an image and resizes it to 64x64.

  Args:
    image: bytes of a file, or uint8 [height, width, 3].

  Returns:
    uint8 [64, 64, 3].

  Raises:
    ValueError: an image smaller than 64x64; and whatever Pillow raises.
  """
  if isinstance(image, bytes):
    with Image.open(io.BytesIO(image)) as opened:
      image = opened.convert('RGB')
  else:
    image = Image.fromarray(image)
  width, height = image.size
  side = min(width, height)
  if side < SIZE:
    raise ValueError(f'it is {width}x{height}, smaller than {SIZE}x{SIZE}')
  left, top = (width - side) // 2, (height - side) // 2
  image = image.crop((left, top, left + side, top + side))
  if side > SIZE:
    image = image.resize((SIZE, SIZE), Image.Resampling.BOX)
  return np.asarray(image)


def size_of(content):
  """(width, height) of an image, from the bytes of its file."""
  with Image.open(io.BytesIO(content)) as opened:
    return opened.size

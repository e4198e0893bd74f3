"""Images beside each other."""

import numpy as np

from trax_reformer_ext.files import written_beside

_GAP = 4


def draw_image_grid(path, rows, scale=2):
  """Writes a PNG of images in rows and columns.

  Args:
    path: str, where to write; an old picture is replaced when the new one is
      complete.
    rows: list of lists of uint8 [height, width, 3], all of one size.
    scale: int, pixels of the picture for one of an image.
  """
  from PIL import Image  # imported here, as it is slow

  height, width, _ = rows[0][0].shape
  n_columns = max(len(row) for row in rows)
  shape = (
    len(rows) * (height + _GAP) + _GAP,
    n_columns * (width + _GAP) + _GAP,
    3,
  )
  canvas = np.full(shape, 255, np.uint8)
  for i, row in enumerate(rows):
    for j, image in enumerate(row):
      top, left = (n * k + _GAP * (n + 1) for n, k in ((i, height), (j, width)))
      canvas[top : top + height, left : left + width] = image
  canvas = canvas.repeat(scale, axis=0).repeat(scale, axis=1)
  with written_beside(path) as part:
    Image.fromarray(canvas).save(part, format='png')

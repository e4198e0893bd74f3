"""Pictures in files."""

import io
import os

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.files import written_beside

_FRAMES_A_SECOND = 10
_GIF_DPI = 100


def save_picture(path, picture):
  """Writes a picture; an old one is replaced when the new one is complete.

  Args:
    path: str, ending in .png, or in .gif for an animation.
    picture: matplotlib's Figure, or Animation.

  Raises:
    ReformerError: another ending, or a file that can't be written.
  """
  path = os.path.expanduser(path)
  still = hasattr(picture, 'savefig')
  check_ending(path, 'path', ['.png' if still else '.gif'])
  try:
    with written_beside(path) as part:
      if still:
        _save_figure(part, picture)
      else:
        _save_animation(part, picture)
  except OSError as e:
    raise ReformerError(
      f'path is {str(path)!r}, which cannot be written ({e.strerror or e}): '
      'give another one'
    ) from e


def check_ending(path, name, endings):
  """Refuses names of files that do not end as a picture's.

  Args:
    path: str.
    name: str, what the message calls it.
    endings: list of str, such as '.png'.

  Returns:
    str, the one of endings that it is.

  Raises:
    ReformerError: it is none of them.
  """
  ending = os.path.splitext(path)[1].lower()
  if ending not in endings:
    raise ReformerError(
      f'{name} is {str(path)!r}: give a name that ends in '
      f'{" or ".join(endings)}'
    )
  return ending


def _save_figure(path, figure):
  from PIL import Image

  content = io.BytesIO()
  figure.savefig(content, format='png')
  image = Image.open(content).convert('RGB')
  # A third of the size, and no difference that is seen.
  _in_colours(image, 256).save(path, format='png', optimize=True)


def _in_colours(image, n):
  """An image with a palette of n colours, white among them as it is."""
  from PIL import Image

  return image.quantize(n, method=Image.Quantize.MAXCOVERAGE, dither=0)


def _save_animation(path, animation):
  from matplotlib.animation import PillowWriter

  class Writer(PillowWriter):
    """Pillow's, which would tell the format by the name of the file."""

    def finish(self):
      frames = [frame.convert('RGB') for frame in self._frames]
      # One palette, so that a frame holds no more than what changes; the last
      # one has all the colours.
      palette = _in_colours(frames[-1], 128)
      first, *others = [
        frame.quantize(palette=palette, dither=0) for frame in frames
      ]
      first.save(
        self.outfile,
        format='gif',
        save_all=True,
        append_images=others,
        duration=round(1000 / self.fps),
        loop=0,
        optimize=True,
      )

  animation.save(path, writer=Writer(fps=_FRAMES_A_SECOND), dpi=_GIF_DPI)

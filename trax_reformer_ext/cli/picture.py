"""What a picture is to trax-reformer plot."""

from typing import NamedTuple


class Picture(NamedTuple):
  """What trax-reformer plot can draw.

  Attributes:
    help: str, a line.
    description: str, with examples.
    add_arguments: function of a parser.
    draw: function of the arguments that returns a picture.
    endings: tuple of str, of the files it can be written to; the first one by
      default.
  """

  help: str
  description: str
  add_arguments: object
  draw: object
  endings: tuple = ('.png',)

"""trax-reformer plot."""

import argparse
import os

from trax_reformer_ext.cli.layer_pictures import PICTURES_OF_LAYERS
from trax_reformer_ext.cli.lines import check_output
from trax_reformer_ext.cli.result_pictures import PICTURES_OF_RESULTS
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.visualize.saving import check_ending, save_picture

HELP = 'draw what the layers do, learning curves and measurements'
DESCRIPTION = """\
Draws a picture: of what the layers do, from their own values, of learning
curves, or of measurements. `trax-reformer plot PICTURE --help` lists its
options.

examples:
  trax-reformer plot hyperplanes
  trax-reformer plot angular_lsh --output_file=angular_lsh.gif
  trax-reformer plot lsh_attention --output_dir=runs/quickstart \\
    --text='for name in names: print(name)'
  trax-reformer plot curves runs/quickstart --output_file=curves.png --overwrite
"""
_PICTURES = PICTURES_OF_LAYERS | PICTURES_OF_RESULTS


def add_arguments(parser):
  """Adds the command's arguments to its parser."""
  pictures = parser.add_subparsers(
    metavar='PICTURE', dest='picture', required=True
  )
  for name, picture in _PICTURES.items():
    subparser = pictures.add_parser(
      name,
      help=picture.help,
      description=picture.description,
      formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    picture.add_arguments(subparser)
    default = f'{name}{picture.endings[0]}'
    subparser.add_argument(
      '--output_file',
      default=default,
      metavar='FILE',
      help=f'where to write, ending in {" or ".join(picture.endings)} '
      f'(default: {default})',
    )
    subparser.add_argument(
      '--overwrite', action='store_true', help='replace an existing file'
    )


def run(arguments):
  """Draws the picture and says where it is."""
  picture, path = _PICTURES[arguments.picture], arguments.output_file
  check_ending(path, '--output_file', picture.endings)
  check_output(path)
  if os.path.exists(os.path.expanduser(path)) and not arguments.overwrite:
    raise ReformerError(
      f'--output_file is {path!r}, which exists: give another one, or '
      '--overwrite'
    )
  save_picture(path, picture.draw(arguments))
  print(f'Picture: {path}')

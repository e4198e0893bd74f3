"""trax-reformer prepare."""

from trax_reformer_ext.data.prepare import prepare

HELP = 'write a data set in the form in which it is trained on'
DESCRIPTION = """\
Writes a data set in the form in which it is trained on, in TFDS's layout:
enwik8, imagenet64, bytes_folder (your own files) or image_folder (your own
images). Source files are looked for in --manual_dir and not unpacked there.

examples:
  trax-reformer prepare enwik8 --data_dir=data
  trax-reformer prepare enwik8 --data_dir=data --length=8192
  trax-reformer prepare imagenet64 --data_dir=data --manual_dir=~/downloads
  trax-reformer prepare imagenet64/npz --data_dir=data --manual_dir=~/downloads
  trax-reformer prepare bytes_folder --data_dir=data --path=my_texts
  trax-reformer prepare image_folder --data_dir=data --path=my_images

A command that was stopped leaves nothing that a later one takes for complete.
"""


def add_arguments(parser):
  """Adds the command's arguments to its parser."""
  parser.add_argument(
    'name', metavar='NAME', help='data set, or data set/config'
  )
  parser.add_argument(
    '--data_dir',
    metavar='DIR',
    help='where to write (default: ~/tensorflow_datasets)',
  )
  parser.add_argument(
    '--manual_dir',
    metavar='DIR',
    help='where source files lie (default: $REFORMER_DATA, or else '
    'downloads/manual in --data_dir)',
  )
  parser.add_argument(
    '--length', type=int, metavar='N', help='bytes in a sequence'
  )
  parser.add_argument(
    '--path', metavar='PATH', help='your own files: a folder or one file'
  )
  parser.add_argument(
    '--skip_broken',
    action='store_true',
    help='leave out images that do not decode, and count them',
  )


def run(arguments):
  """Prepares the data set and says what was written."""
  prepare(
    arguments.name,
    arguments.data_dir,
    arguments.manual_dir,
    arguments.length,
    arguments.path,
    arguments.skip_broken,
  )

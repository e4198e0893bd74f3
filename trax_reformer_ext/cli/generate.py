"""trax-reformer generate."""

import contextlib
import os
import sys

from trax_reformer_ext.cli.common import (
  add_beam_arguments,
  add_config_arguments,
  bindings_of,
)
from trax_reformer_ext.cli.lines import check_output, read_lines, write_lines
from trax_reformer_ext.training import configs, run_dir
from trax_reformer_ext.training.translation import translate_by_run

HELP = 'translate a file line by line'
DESCRIPTION = """\
Translates a file line by line with the last checkpoint of a translation run.
Blank lines stay blank, so that line n of the output belongs to line n of the
input. The output file is seen when it is complete.

examples:
  trax-reformer generate --output_dir=runs/translation --input_file=news.en \\
    --output_file=news.de
  trax-reformer generate --output_dir=runs/translation --beam_size=8 \\
    --length_penalty=1.0 --too_long=stop --input_file=news.en.gz > news.de
"""


def add_arguments(parser):
  """Adds the command's arguments to its parser."""
  add_config_arguments(parser)
  parser.add_argument(
    '--output_dir', required=True, metavar='DIR', help='directory of the run'
  )
  parser.add_argument(
    '--input_file',
    required=True,
    metavar='FILE',
    help='UTF-8 text, a sentence a line; NAME.gz is unpacked, - is stdin',
  )
  parser.add_argument(
    '--output_file',
    default='-',
    metavar='FILE',
    help='where to write; NAME.gz is packed, - is stdout (default: -)',
  )
  add_beam_arguments(parser)
  parser.add_argument(
    '--too_long',
    choices=['cut', 'stop'],
    default='cut',
    help='what becomes of lines with more tokens than --max_length '
    '(default: cut, with a warning)',
  )
  parser.add_argument(
    '--max_length',
    type=int,
    metavar='N',
    help='tokens in the longest line, and in the longest translation '
    '(default: that of the training)',
  )
  parser.add_argument(
    '--batch_tokens',
    type=int,
    default=2048,
    metavar='N',
    help='tokens of the input that are translated together; more need more '
    'memory (default: 2048)',
  )


def run(arguments):
  """Translates."""
  folder = os.path.expanduser(arguments.output_dir)
  configs.parse([run_dir.config_path(folder)], bindings_of(arguments))
  check_output(arguments.output_file)
  lines = read_lines(arguments.input_file)
  # What the data says of itself is no translation.
  with contextlib.redirect_stdout(sys.stderr):
    translated = translate_by_run(
      folder,
      lines,
      beam_size=arguments.beam_size,
      length_penalty=arguments.length_penalty,
      too_long=arguments.too_long,
      max_length=arguments.max_length,
      batch_tokens=arguments.batch_tokens,
    )
  write_lines(arguments.output_file, translated)

"""trax-reformer generate."""

import contextlib
import os
import sys

from trax_reformer_ext.cli.common import (
  add_beam_arguments,
  add_config_arguments,
  bindings_of,
)
from trax_reformer_ext.cli.lines import (
  check_output,
  read_bytes,
  read_lines,
  write_lines,
)
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.training import configs, run_dir
from trax_reformer_ext.training.continuation import continue_by_run
from trax_reformer_ext.training.translation import translate_by_run

HELP = 'continue a text, or translate a file line by line'
DESCRIPTION = """\
Continues a text with the last checkpoint of a run on text; what is generated
appears as it comes. The same seed gives the same text.

With --input_file, translates a file line by line with the last checkpoint of a
translation run. Blank lines stay blank, so that line n of the output belongs to
line n of the input. The output file is seen when it is complete.

examples:
  trax-reformer generate --output_dir=runs/quickstart --prompt='def main('
  trax-reformer generate --output_dir=runs/quickstart --prompt_file=start.py \\
    --length=500 --temperature=0.7 --top_p=0.95 --seed=1
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
  group = parser.add_argument_group('continuing a text')
  group.add_argument(
    '--prompt', metavar='TEXT', help='where to go on from (default: nothing)'
  )
  group.add_argument(
    '--prompt_file', metavar='FILE', help='the same from a file, as it is'
  )
  group.add_argument(
    '--length',
    type=int,
    default=256,
    metavar='N',
    help='bytes to add (default: 256)',
  )
  group.add_argument(
    '--temperature',
    type=float,
    default=0.8,
    metavar='X',
    help='0 for always the likeliest byte; 1 for the model as it is '
    '(default: 0.8)',
  )
  group.add_argument(
    '--top_k',
    type=int,
    default=0,
    metavar='N',
    help='draw from the N likeliest alone (default: 0, all)',
  )
  group.add_argument(
    '--top_p',
    type=float,
    default=1.0,
    metavar='X',
    help='draw from the likeliest whose probabilities reach X alone '
    '(default: 1, all)',
  )
  group.add_argument(
    '--seed', type=int, default=0, metavar='N', help='(default: 0)'
  )
  parser = parser.add_argument_group('translating')
  parser.add_argument(
    '--input_file',
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
  """Continues a text, or translates."""
  folder = os.path.expanduser(arguments.output_dir)
  for name in ('prompt', 'prompt_file'):
    if (
      arguments.input_file is not None and getattr(arguments, name) is not None
    ):
      raise ReformerError(
        f'--{name} is {getattr(arguments, name)!r} with --input_file '
        f'{arguments.input_file!r}: the first continues a text, the second '
        'translates; leave one of them out'
      )
  configs.parse([run_dir.config_path(folder)], bindings_of(arguments))
  if arguments.input_file is None:
    _continue(folder, arguments)
  else:
    _translate(folder, arguments)


def _continue(folder, arguments):
  if arguments.prompt is not None and arguments.prompt_file is not None:
    raise ReformerError(
      f'--prompt_file is {arguments.prompt_file!r} with --prompt: leave one of '
      'them out'
    )
  prompt = (arguments.prompt or '').encode('utf-8', errors='surrogateescape')
  if arguments.prompt_file is not None:
    prompt = read_bytes(arguments.prompt_file, '--prompt_file')
  pieces = continue_by_run(
    folder,
    prompt,
    arguments.length,
    temperature=arguments.temperature,
    top_k=arguments.top_k,
    top_p=arguments.top_p,
    seed=arguments.seed,
  )
  for piece in pieces:
    print(piece, end='', flush=True)
  print()


def _translate(folder, arguments):
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

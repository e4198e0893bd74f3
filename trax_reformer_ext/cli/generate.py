"""trax-reformer generate."""

import contextlib
import os
import sys

import numpy as np

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
from trax_reformer_ext.data import image_inputs
from trax_reformer_ext.data.pixels import SIZE, size_of, to_pixels
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.training import configs, run_dir
from trax_reformer_ext.training.completion import complete_image
from trax_reformer_ext.training.continuation import continue_by_run, is_run_on
from trax_reformer_ext.training.translation import translate_by_run
from trax_reformer_ext.visualize.image_grid import draw_image_grid

HELP = 'continue a text, complete an image, or translate a file'
DESCRIPTION = """\
Continues a text with the last checkpoint of a run on text, of bytes or of
sentencepiece tokens; what is generated appears as it comes. The same seed gives
the same text.

With a run on images, completes an image (or, without --image, makes whole ones)
and writes a PNG: the image, what is kept of it, and the samples.

With --input_file, translates a file line by line with the last checkpoint of a
translation run. Blank lines stay blank, so that line n of the output belongs to
line n of the input. The output file is seen when it is complete.

examples:
  trax-reformer generate --output_dir=runs/quickstart --prompt='def main('
  trax-reformer generate --output_dir=runs/quickstart --prompt_file=start.py \\
    --length=500 --temperature=0.7 --top_p=0.95 --seed=1
  trax-reformer generate --output_dir=runs/imagenet64 --image=photo.png \\
    --keep_rows=32 --n_samples=4 --output_file=completed.png
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
    '--output_file',
    default='-',
    metavar='FILE',
    help='where a translation or a picture goes; NAME.gz is packed, - is '
    'stdout (default: -)',
  )
  group = parser.add_argument_group('sampling, of text and images')
  group.add_argument(
    '--temperature',
    type=float,
    default=0.8,
    metavar='X',
    help='0 for always the likeliest token; 1 for the model as it is '
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
    help='tokens to add: bytes, or sentencepiece tokens where the run is on '
    'subwords (default: 256)',
  )
  group = parser.add_argument_group('completing an image')
  group.add_argument(
    '--image',
    metavar='FILE',
    help='image to complete; cut to a square and resized to 64x64 '
    '(default: none, whole samples)',
  )
  group.add_argument(
    '--keep_rows',
    type=int,
    default=32,
    metavar='N',
    help='rows to keep, of 64 (default: 32)',
  )
  group.add_argument(
    '--n_samples', type=int, default=4, metavar='N', help='(default: 4)'
  )
  parser = parser.add_argument_group('translating')
  parser.add_argument(
    '--input_file',
    metavar='FILE',
    help='UTF-8 text, a sentence a line; NAME.gz is unpacked, - is stdin',
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
  """Continues a text, completes an image, or translates."""
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
  if is_run_on(image_inputs):
    _complete(folder, arguments)
  elif arguments.image is not None:
    raise ReformerError(
      f'--image is {arguments.image!r}, but the run in --output_dir is not on '
      'images: give one that was trained on trax_reformer_ext.image_inputs'
    )
  elif arguments.input_file is None:
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
  # What the data says of itself is no continuation.
  with contextlib.redirect_stdout(sys.stderr):
    pieces = continue_by_run(
      folder,
      prompt,
      arguments.length,
      **_sampling(arguments),
    )
  try:
    for piece in pieces:
      print(piece, end='', flush=True)
  except KeyboardInterrupt:
    print(flush=True)  # what is said of it comes on a line of its own
    raise
  print()


def _complete(folder, arguments):
  path = arguments.output_file
  if path == '-':
    raise ReformerError(
      "--output_file is '-': images are written to a file; give one that ends "
      'in .png'
    )
  check_output(path)
  image = None if arguments.image is None else _read_image(arguments.image)
  keep_rows = arguments.keep_rows
  samples = complete_image(
    folder, image, keep_rows, arguments.n_samples, **_sampling(arguments)
  )
  row = list(samples)
  if image is not None:
    kept = np.full_like(image, 128)
    kept[:keep_rows] = image[:keep_rows]
    row = [image, kept, *row]
  draw_image_grid(os.path.expanduser(path), [row])
  print(f'Picture: {path}')


def _read_image(path):
  content = read_bytes(path, '--image', 'an image')
  try:
    pixels = to_pixels(content)
  except Exception as e:  # Pillow's decoders raise errors of all kinds
    raise ReformerError(
      f'--image is {path!r}, which is no image that can be used '
      f'({str(e).splitlines()[0]}): give another one'
    ) from e
  size = size_of(content)
  if size != (SIZE, SIZE):
    width, height = size
    print(f'{path}: {width}x{height}, cut and resized to {SIZE}x{SIZE}')
  return pixels


def _sampling(arguments):
  names = 'temperature', 'top_k', 'top_p', 'seed'
  return {name: getattr(arguments, name) for name in names}


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

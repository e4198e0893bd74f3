"""The trax-reformer command."""

import argparse
import datetime
import os
import sys
import warnings

import gin
import numpy as np
from absl import logging as absl_logging
from trax import models as trax_models

import trax_reformer_ext
from trax_reformer_ext import data
from trax_reformer_ext.data.prepare import prepare
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.training import configs, run_dir
from trax_reformer_ext.training.evaluate import evaluate
from trax_reformer_ext.training.flags import add_trax_flags, apply_trax_flags
from trax_reformer_ext.training.loop import Loop
from trax_reformer_ext.training.report import report
from trax_reformer_ext.training.train import train

_PARAGRAPHS = argparse.RawDescriptionHelpFormatter
# What --dataset and --data_dir are for.
_NAMED_DATA = (
  'trax_reformer_ext.text_inputs',
  'trax_reformer_ext.image_inputs',
  'trax.data.data_streams',
)

_TRAIN = """\
Trains a model as a gin config says: with the meaning of the flags of
`python -m trax.trainer`.

examples:
  trax-reformer train --config_file=quickstart --output_dir=runs/quickstart
  trax-reformer train --config_file=gin_configs/reformer_enwik8.gin \\
    --data_dir=data --output_dir=runs/enwik8 \\
    --config='trax_reformer_ext.ReformerLM.n_layers=4' \\
    --config='train.steps=1000'

The same command goes on from the last checkpoint in --output_dir.
"""

_EVALUATE = """\
Prints bits per dim and accuracy of a run's last checkpoint over a whole split.
The figures are the same on every repeat.

examples:
  trax-reformer evaluate --output_dir=runs/quickstart
  trax-reformer evaluate --output_dir=runs/quickstart --split=test \\
    --config='trax_reformer_ext.LSHSelfAttention.n_hashes=8' --hash_seeds=5
"""

_PREPARE = """\
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


def main(argv=None):
  """Runs the command; returns its exit code."""
  if not sys.warnoptions:
    # Of Trax and JAX about each other: nothing that a user can act on.
    warnings.simplefilter('ignore')
  try:
    arguments = _parser().parse_args(argv)
    arguments.run(arguments)
  except KeyboardInterrupt as e:
    print(f'trax-reformer: {e or "stopped"}', file=sys.stderr)
    return 130
  except Exception as e:
    mistake = _mistake(e)
    if mistake is None:
      raise
    print(f'trax-reformer: error: {mistake}', file=sys.stderr)
    return 1
  return 0


class _Parser(argparse.ArgumentParser):
  """An argument parser whose errors are said as all others are."""

  def error(self, message):
    raise ReformerError(f'{message}; see {self.prog} --help')


def _parser():
  parser = _Parser(
    prog='trax-reformer',
    description='Prepares data for Reformers, trains and evaluates them.',
  )
  parser.add_argument(
    '--version', action='version', version=trax_reformer_ext.__version__
  )
  commands = parser.add_subparsers(metavar='COMMAND', required=True)

  common = argparse.ArgumentParser(add_help=False)
  common.add_argument(
    '--config',
    action='append',
    default=[],
    metavar='GIN',
    help='gin binding that wins over config files; may be repeated',
  )
  common.add_argument('--data_dir', metavar='DIR', help='where the data lies')

  described = ['config_file', 'config', 'output_dir', 'dataset', 'data_dir']
  described += ['model', 'log_level']
  command = commands.add_parser(
    'train',
    help='train a model as a gin config says',
    description=_TRAIN,
    formatter_class=_PARAGRAPHS,
    parents=[common],
  )
  command.set_defaults(run=_train)
  command.add_argument(
    '--config_file',
    action='append',
    default=[],
    metavar='FILE',
    help='gin file, or the name of a shipped config '
    f'({", ".join(configs.shipped_configs())}); may be repeated',
  )
  command.add_argument(
    '--output_dir',
    metavar='DIR',
    help='for checkpoints, scalars and configs '
    '(default: ~/trax/<model>_<data set>_<time>)',
  )
  command.add_argument(
    '--model',
    metavar='NAME',
    help='trax_reformer_ext.NAME where it exists, else trax.models.NAME',
  )
  command.add_argument(
    '--dataset', metavar='NAME', help='data set, such as enwik8'
  )
  command.add_argument(
    '--log_level',
    type=int,
    default=absl_logging.WARNING,
    metavar='N',
    help='of the libraries: 0 for information, -1 for warnings, -2 for errors '
    '(default: -1)',
  )
  add_trax_flags(command, described)

  command = commands.add_parser(
    'evaluate',
    help="bits per dim of a run's last checkpoint",
    description=_EVALUATE,
    formatter_class=_PARAGRAPHS,
    parents=[common],
  )
  command.set_defaults(run=_evaluate)
  command.add_argument(
    '--output_dir', required=True, metavar='DIR', help='directory of the run'
  )
  command.add_argument(
    '--split',
    default='validation',
    metavar='NAME',
    help='train, validation or test (default: validation)',
  )
  command.add_argument(
    '--hash_seeds',
    type=int,
    default=1,
    metavar='N',
    help='evaluate with N sets of hash rotations and print their spread '
    '(default: 1)',
  )

  command = commands.add_parser(
    'prepare',
    help='write a data set in the form in which it is trained on',
    description=_PREPARE,
    formatter_class=_PARAGRAPHS,
  )
  command.set_defaults(run=_prepare)
  command.add_argument(
    'name', metavar='NAME', help='data set, or data set/config'
  )
  command.add_argument(
    '--data_dir',
    metavar='DIR',
    help='where to write (default: ~/tensorflow_datasets)',
  )
  command.add_argument(
    '--manual_dir',
    metavar='DIR',
    help='where source files lie (default: $REFORMER_DATA, or else '
    'downloads/manual in --data_dir)',
  )
  command.add_argument(
    '--length', type=int, metavar='N', help='bytes in a sequence'
  )
  command.add_argument(
    '--path', metavar='PATH', help='your own files: a folder or one file'
  )
  command.add_argument(
    '--skip_broken',
    action='store_true',
    help='leave out images that do not decode, and count them',
  )
  return parser


def _train(arguments):
  absl_logging.set_verbosity(arguments.log_level)
  configs.parse(arguments.config_file, arguments.config + _overrides(arguments))
  apply_trax_flags(arguments)
  folder = _output_dir(arguments.output_dir)
  print(f'Output directory: {folder}')
  trained = train(folder)
  inputs = gin.get_bindings('train').get('inputs')
  if isinstance(trained, Loop) and _is_ours(inputs):
    report(trained, inputs())


def _evaluate(arguments):
  if arguments.hash_seeds < 1:
    raise ReformerError(
      f'--hash_seeds is {arguments.hash_seeds}: give an int of at least 1'
    )
  folder = os.path.expanduser(arguments.output_dir)
  bindings = list(arguments.config)
  if arguments.data_dir:
    bindings += _data_bindings('data_dir', arguments.data_dir)
  configs.parse([run_dir.config_path(folder)], bindings)
  results = evaluate(folder, arguments.split, arguments.hash_seeds)
  for seed, (bits, accuracy) in enumerate(results):
    which = f', hash seed {seed}' if len(results) > 1 else ''
    print(
      f'{arguments.split}{which}: {bits:.4f} bits/dim, accuracy {accuracy:.4f}'
    )
  if len(results) > 1:
    bits = [figures.bits_per_dim for figures in results]
    print(
      f'{arguments.split}: {np.mean(bits):.4f} bits/dim, from {min(bits):.4f} '
      f'to {max(bits):.4f} over {len(bits)} hash seeds '
      f'(standard deviation {np.std(bits, ddof=1):.4f})'
    )


def _prepare(arguments):
  prepare(
    arguments.name,
    arguments.data_dir,
    arguments.manual_dir,
    arguments.length,
    arguments.path,
    arguments.skip_broken,
  )


def _overrides(arguments):
  """The gin bindings that the flags stand for, as in Trax's trainer."""
  bindings = []
  if arguments.dataset:
    bindings += _data_bindings('dataset_name', arguments.dataset)
  if arguments.data_dir:
    bindings += _data_bindings('data_dir', arguments.data_dir)
  if arguments.model:
    module = _module_of_model(arguments.model)
    print(f'Model: {module}.{arguments.model}')
    bindings.append(f'train.model = @{module}.{arguments.model}')
  return bindings


def _data_bindings(name, value):
  return [f'{stream}.{name} = {value!r}' for stream in _NAMED_DATA]


def _module_of_model(name):
  if name in trax_reformer_ext.models.__all__:
    return 'trax_reformer_ext'
  if callable(getattr(trax_models, name, None)):
    return 'trax.models'
  own = ', '.join(trax_reformer_ext.models.__all__)
  raise ReformerError(
    f'--model is {name!r}: give {own} of this package, or a model of '
    'trax.models'
  )


def _is_ours(inputs):
  """Whether the inputs are this package's, which the report is about."""
  module = getattr(inputs, '__module__', None) or ''
  return callable(inputs) and module.startswith(data.__name__)


def _output_dir(folder):
  """The output directory, by default named as Trax's trainer does."""
  if folder is None:
    bindings = gin.get_bindings('train', resolve_references=False)
    model = getattr(bindings.get('model'), 'selector', 'model').split('.')[-1]
    time = datetime.datetime.now().strftime('%Y%m%d_%H%M')
    folder = f'~/trax/{model}_{_dataset_name()}_{time}'
  folder = os.path.abspath(os.path.expanduser(folder))
  existing = folder
  while not os.path.exists(existing):
    existing = os.path.dirname(existing)
  if not os.path.isdir(existing) or not os.access(existing, os.W_OK):
    raise ReformerError(
      f'--output_dir is {folder!r}, but {existing} is not a directory that can '
      'be written: choose another one'
    )
  return folder


def _dataset_name():
  for stream in _NAMED_DATA:
    name = gin.get_bindings(stream).get('dataset_name')
    if name:
      return name
  inputs = gin.get_bindings('train', resolve_references=False).get('inputs')
  selector = getattr(inputs, 'selector', 'random')
  return selector.split('.')[-1].removesuffix('_inputs')


def _mistake(e):
  """The message of the user's mistake behind an exception, or None."""
  seen = set()
  while e is not None and id(e) not in seen:
    seen.add(id(e))
    # gin appends the names of its configurables in further lines.
    first = str(e).split('\n')[0]
    if isinstance(e, ReformerError):
      return first
    if isinstance(e, RuntimeError) and first.startswith('Required bindings'):
      return f'config: {first}: bind them in a --config_file or by --config'
    e = e.__cause__ or e.__context__
  return None

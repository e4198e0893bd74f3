"""trax-reformer train."""

import datetime
import os

import gin
from absl import logging as absl_logging
from trax import models as trax_models

from trax_reformer_ext import data, models
from trax_reformer_ext.cli.common import (
  NAMED_DATA,
  add_config_arguments,
  bindings_of,
  data_bindings,
)
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.training import configs
from trax_reformer_ext.training.flags import add_trax_flags, apply_trax_flags
from trax_reformer_ext.training.loop import Loop
from trax_reformer_ext.training.report import report
from trax_reformer_ext.training.train import train

HELP = 'train a model as a gin config says'
DESCRIPTION = """\
Trains a model as a gin config says: with the meaning of the flags of
`python -m trax.trainer`.

examples:
  trax-reformer train --config_file=quickstart --output_dir=runs/quickstart
  trax-reformer train --config_file=gin_configs/reformer_enwik8.gin \\
    --data_dir=data --output_dir=runs/enwik8 \\
    --config='trax_reformer_ext.ReformerLM.n_layers=4' \\
    --config='train.steps=1000'

The same command goes on from the last checkpoint in --output_dir, to the same
weights as without a stop. SIGINT (Ctrl-C) and SIGTERM finish the step, save it
and end with the exit code 130 or 143; a second one ends at once.

On several machines that share --output_dir, one command each:
  trax-reformer train --config_file=... --output_dir=/shared/run \
    --gpu_cluster_chief_ip=10.0.0.1 --gpu_cluster_n_hosts=2 \
    --gpu_cluster_host_id=0
"""


def add_arguments(parser):
  """Adds the command's arguments to its parser."""
  add_config_arguments(parser)
  parser.add_argument(
    '--config_file',
    action='append',
    default=[],
    metavar='FILE',
    help='gin file, or the name of a shipped config '
    f'({", ".join(configs.shipped_configs())}); may be repeated',
  )
  parser.add_argument(
    '--output_dir',
    metavar='DIR',
    help='for checkpoints, scalars and configs '
    '(default: ~/trax/<model>_<data set>_<time>)',
  )
  parser.add_argument(
    '--model',
    metavar='NAME',
    help='trax_reformer_ext.NAME where it exists, else trax.models.NAME',
  )
  parser.add_argument(
    '--dataset', metavar='NAME', help='data set, such as enwik8'
  )
  parser.add_argument(
    '--log_level',
    type=int,
    default=absl_logging.WARNING,
    metavar='N',
    help='of the libraries: 0 for information, -1 for warnings, -2 for errors '
    '(default: -1)',
  )
  parser.add_argument(
    '--cluster_patience',
    type=float,
    default=300.0,
    metavar='SECONDS',
    help='how long the hosts of a cluster wait for each other (default: 300)',
  )
  described = ['config_file', 'config', 'output_dir', 'dataset', 'data_dir']
  add_trax_flags(parser, [*described, 'model', 'log_level'])


def run(arguments):
  """Trains, and reports on data of this package."""
  absl_logging.set_verbosity(arguments.log_level)
  configs.parse(arguments.config_file, _bindings(arguments))
  apply_trax_flags(arguments, arguments.cluster_patience)
  folder = _output_dir(arguments.output_dir)
  print(f'Output directory: {folder}')
  trained = train(folder)
  inputs = gin.get_bindings('train').get('inputs')
  if isinstance(trained, Loop) and trained.is_chief and _is_ours(inputs):
    report(trained, inputs())


def _bindings(arguments):
  """The gin bindings that the flags stand for, as in Trax's trainer."""
  bindings = bindings_of(arguments)
  if arguments.dataset:
    bindings += data_bindings('dataset_name', arguments.dataset)
  if arguments.model:
    module = _module_of_model(arguments.model)
    print(f'Model: {module}.{arguments.model}')
    bindings.append(f'train.model = @{module}.{arguments.model}')
  return bindings


def _module_of_model(name):
  if name in models.__all__:
    return 'trax_reformer_ext'
  if callable(getattr(trax_models, name, None)):
    return 'trax.models'
  raise ReformerError(
    f'--model is {name!r}: give {", ".join(models.__all__)} of this package, '
    'or a model of trax.models'
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
  for stream in NAMED_DATA:
    name = gin.get_bindings(stream).get('dataset_name')
    if name:
      return name
  inputs = gin.get_bindings('train', resolve_references=False).get('inputs')
  selector = getattr(inputs, 'selector', 'random')
  return selector.split('.')[-1].removesuffix('_inputs')

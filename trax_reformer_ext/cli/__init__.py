"""The trax-reformer command; each of its commands is a module."""

import argparse
import sys
import warnings

import trax_reformer_ext
from trax_reformer_ext.cli import (
  convert,
  evaluate,
  generate,
  plot,
  prepare,
  train,
)
from trax_reformer_ext.errors import ReformerError

# A command has HELP, DESCRIPTION, add_arguments(parser) and run(arguments).
_COMMANDS = {
  'train': train,
  'evaluate': evaluate,
  'generate': generate,
  'prepare': prepare,
  'convert': convert,
  'plot': plot,
}


def main(argv=None):
  """Runs the command; returns its exit code."""
  if not sys.warnoptions:
    # Of Trax and JAX about each other: nothing that a user can act on.
    warnings.simplefilter('ignore')
  try:
    arguments = _parser().parse_args(argv)
    arguments.run(arguments)
  except KeyboardInterrupt as e:
    print(f'trax-reformer: {str(e) or "stopped"}', file=sys.stderr)
    return getattr(e, 'exit_code', 130)
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
    description='Prepares data for Reformers, trains, evaluates and uses them.',
  )
  parser.add_argument(
    '--version', action='version', version=trax_reformer_ext.__version__
  )
  subparsers = parser.add_subparsers(metavar='COMMAND', required=True)
  for name, command in _COMMANDS.items():
    subparser = subparsers.add_parser(
      name,
      help=command.HELP,
      description=command.DESCRIPTION,
      formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(subparser)
    subparser.set_defaults(run=command.run)
  return parser


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

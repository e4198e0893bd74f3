"""Options and output that the workers of benchmarks/gpu.py share."""

import argparse
import json


def parser(doc, seconds):
  """A worker's options: --seconds and --quick.

  Args:
    doc: str, the worker's docstring.
    seconds: float, default of --seconds.

  Returns:
    argparse.ArgumentParser.
  """
  options = argparse.ArgumentParser(
    description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  options.add_argument(
    '--seconds',
    type=float,
    default=seconds,
    help='no row is started after this time',
  )
  options.add_argument('--quick', action='store_true', help='small sizes')
  return options


def tell(row):
  """Prints a row as one line of JSON, immediately."""
  print(json.dumps(row), flush=True)


def said_by(error):
  """An exception as one short line."""
  message = ' '.join(str(error).split())[:300]
  return f'{type(error).__name__}: {message}'

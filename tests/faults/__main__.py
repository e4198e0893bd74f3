"""Runs the scenarios at their full size and prints a table.

  python -m tests.faults --output_dir=runs/faults
  python -m tests.faults --output_dir=runs/faults --parts=kills --kills=10
  python -m tests.faults --output_dir=runs/faults --parts=versions \\
    --other_python=/path/to/another/bin/python
"""

import argparse
import pathlib
import shutil
import statistics
import sys
import time

from tests import conftest  # noqa: F401  (a compilation cache for all runs)
from tests.faults import scenarios


def main():
  parser = argparse.ArgumentParser(
    prog='python -m tests.faults',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('--output_dir', required=True, help='for the runs')
  parser.add_argument(
    '--parts', nargs='+', choices=_PARTS, default=list(_PARTS), help='which'
  )
  parser.add_argument('--kills', type=int, default=100)
  parser.add_argument(
    '--port', type=int, default=23461, help='free on this machine'
  )
  parser.add_argument(
    '--other_python',
    help='another interpreter with this package, for the part versions',
  )
  options = parser.parse_args()
  if options.other_python is None and 'versions' in options.parts:
    print('versions: left out without --other_python', file=sys.stderr)
    options.parts.remove('versions')
  print('| what happens | what is seen | minutes |\n|---|---|---|')
  for part in options.parts:
    folder = pathlib.Path(options.output_dir) / part
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    started = time.monotonic()
    what, seen = _PARTS[part](folder, options)
    minutes = (time.monotonic() - started) / 60
    print(f'| {what} | {seen} | {minutes:.1f} |', flush=True)


def _kills(folder, options):
  say = lambda n: print(f'{n} of {options.kills} kills', file=sys.stderr)
  seen = scenarios.kills(
    folder, options.kills, 12 * options.kills, 3.0, progress=say
  )
  lost = seen['lost']
  return f'{seen["kills"]} SIGKILLs at random moments', (
    f'{seen["n_steps"]} steps came to the same bits as without a kill; the run '
    f'was at step {seen["steps"][-1]} after the last; done again after a kill: '
    f'{statistics.mean(lost):.1f} steps, at most {max(lost)}'
  )


def _first_save(folder, options):
  seen = scenarios.kills_in_the_first_save(folder, 10)
  return f'{seen["kills"]} SIGKILLs during the very first save', (
    f'{seen["cut"]} left no complete checkpoint; all started again and came to '
    'the same bits'
  )


def _damage(folder, options):
  seen = scenarios.damage(folder)
  return (
    f'each of the {seen["files"]} files of a checkpoint cut off, longer by a '
    'byte, or with a bit flipped'
  ), f'{seen["damages"]} of {seen["damages"]} found, named, the one before used'


def _full_disk(folder, options):
  (folder / 'goes_on').mkdir()
  (folder / 'stops').mkdir()
  seen = scenarios.full_disk(folder / 'goes_on', stops=False)
  scenarios.full_disk(folder / 'stops', stops=True)
  return 'the disk is full for some saves', (
    f'said ({seen["warnings"]} times), the last good checkpoint stayed, the '
    'same bits at the end; with stop_on_failed_save stopped with exit code 1 '
    'and went on from there'
  )


def _devices(folder, options):
  results = {
    f'{n} device{"s" * (n > 1)}': scenarios.on_devices(folder / str(n), n)
    for n in (1, 2, 4)
  }
  results['2 processes'] = scenarios.on_hosts(folder / 'hosts', 2, options.port)
  first = results['1 device']
  seen = []
  for name, (losses, weights, speed) in results.items():
    apart = max(abs(a - b) for a, b in zip(losses, first[0], strict=True))
    weights_apart = scenarios.largest_difference(weights, first[1])
    seen.append(
      f'{name}: {speed:,.0f} tokens/s, losses within {apart:.0e} (the first '
      f'within {abs(losses[0] - first[0][0]):.0e}) and weights within '
      f'{weights_apart:.0e} of one device'
    )
  return '50 steps on several devices and hosts', '; '.join(seen)


def _versions(folder, options):
  seen = scenarios.versions(folder, (sys.executable, options.other_python))
  return 'goes on under another Python and JAX, and back', (
    f'steps 2, 4 and 6 by JAX {", ".join(seen["jax"])}'
  )


_PARTS = {
  'kills': _kills,
  'first_save': _first_save,
  'damage': _damage,
  'full_disk': _full_disk,
  'devices': _devices,
  'versions': _versions,
}

if __name__ == '__main__':
  main()

"""Runs the experiments that are not done yet, one run after another.

  python experiments/run.py --list
  python experiments/run.py --data_dir=data
  python experiments/run.py --only=duplication,depth
  python experiments/run.py --report

A run is done when its CSV is in --results_dir. What is interrupted goes on from
its last checkpoint. data is a folder with enwik8 (or a prefix of it) and with
imagenet64 as `trax-reformer prepare` writes it; None for $REFORMER_DATA and
TFDS's folder. --report prints the tables and draws the pictures of all
experiments whose runs are done.
"""

import argparse
import importlib
import pathlib
import subprocess

import runs

EXPERIMENTS = (
  'duplication',
  'short_text',
  'contribution',
  'modes',
  'rounds',
  'depth',
  'bfloat16',
)
# A few steps, to see that all commands work.
_QUICK = ('train.steps = 4', 'train.eval_frequency = 2', 'train.eval_steps = 1')


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--only',
    default=','.join(EXPERIMENTS),
    metavar='NAMES',
    help=f'some of {", ".join(EXPERIMENTS)} (default: all)',
  )
  parser.add_argument('--list', action='store_true', help='what is done')
  parser.add_argument(
    '--report', action='store_true', help='tables and pictures, no runs'
  )
  parser.add_argument('--data_dir', metavar='DIR')
  parser.add_argument(
    '--work_dir',
    type=pathlib.Path,
    default=pathlib.Path('runs/experiments'),
    metavar='DIR',
    help='for the directories of runs (default: runs/experiments)',
  )
  parser.add_argument(
    '--results_dir',
    type=pathlib.Path,
    default=runs.RESULTS,
    metavar='DIR',
    help='for CSV files (default: experiments/results)',
  )
  parser.add_argument(
    '--pictures_dir',
    type=pathlib.Path,
    default=runs.HERE / 'pictures',
    metavar='DIR',
    help='(default: experiments/pictures)',
  )
  parser.add_argument(
    '--quick',
    action='store_true',
    help='a few steps each; give a --results_dir of its own',
  )
  arguments = parser.parse_args()
  names = arguments.only.split(',')
  for name in names:
    if name not in EXPERIMENTS:
      parser.error(
        f'--only has {name!r}: give some of {", ".join(EXPERIMENTS)}'
      )
  if arguments.quick and arguments.results_dir == runs.RESULTS:
    parser.error('--quick needs a --results_dir of its own')
  experiments = [importlib.import_module(name) for name in names]
  # Some runs belong to several experiments.
  all_runs = {run.name: run for e in experiments for run in e.RUNS}.values()
  todo = [r for r in all_runs if not runs.is_done(r, arguments.results_dir)]
  if arguments.list:
    for run in all_runs:
      print(f'{"to do" if run in todo else "done":6} {run.name}')
    return
  if not arguments.report:
    for i, run in enumerate(todo):
      print(f'[{i + 1}/{len(todo)}] {run.name}', flush=True)
      try:
        runs.execute(
          run,
          arguments.work_dir,
          arguments.results_dir,
          arguments.data_dir,
          _QUICK if arguments.quick else (),
        )
      except subprocess.CalledProcessError as e:
        parser.exit(1, f'error: {run.name} ended with {e.returncode}\n')
      except KeyboardInterrupt:
        parser.exit(130, f'stopped; {run.name} goes on where it was\n')
  for name, experiment in zip(names, experiments, strict=True):
    if all(runs.is_done(run, arguments.results_dir) for run in experiment.RUNS):
      print(f'{name}: {experiment.__doc__.splitlines()[0]}\n')
      experiment.report(arguments.results_dir, arguments.pictures_dir)
    else:
      print(f'{name}: not all runs are done\n')


if __name__ == '__main__':
  main()

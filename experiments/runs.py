"""A training run, what is measured on it, and how both are kept."""

import csv
import os
import pathlib
import re
import subprocess
import sys
import time
from typing import NamedTuple

from trax_reformer_ext.files import written_beside
from trax_reformer_ext.training.curves import curves_of_run

HERE = pathlib.Path(__file__).parent
CONFIGS = HERE / 'configs'
RESULTS = HERE / 'results'
COMMAND = [sys.executable, '-m', 'trax_reformer_ext']
_COLUMNS = ('what', 'step', 'value')
# What feeds a config, other than text.
_STREAMS = {'images': 'image_inputs', 'duplication': 'duplication_inputs'}
_EVALUATED = (
  r'^(?P<what>.+): (?P<bits>[\d.]+) bits/dim, accuracy (?P<accuracy>[\d.]+)$'
)
_PREFIXES = (
  r'^(?P<what>\w+), (?P<positions>[\d,]+) positions: (?P<whole>[\d.]+) '
  r'bits/dim from the whole sequence, (?P<prefix>[\d.]+) from the prefix '
  r'alone, (?P<leak>[+-][\d.]+) with a standard error of (?P<error>[\d.]+)$'
)
_MEMORY = r'^(?P<what>temporary memory): (?P<mib>[\d.]+) MiB$'


class Run(NamedTuple):
  """A training run.

  Attributes:
    name: str, a path of its own below the folder of runs.
    config: str, name of a file in experiments/configs.
    bindings: tuple of str, gin bindings on top.
    evaluations: dict from labels to lists of arguments of `trax-reformer
      evaluate`.
    memory: bool, whether XLA's memory of a training step is wanted.
  """

  name: str
  config: str
  bindings: tuple = ()
  evaluations: dict = {}
  memory: bool = False


def with_seeds(run, n=3):
  """The same run with n seeds, of the weights and of the batches."""
  stream = _STREAMS.get(run.config, 'text_inputs')
  return [
    run._replace(
      name=f'{run.name}-seed{seed}',
      bindings=(
        *run.bindings,
        f'train.random_seed = {seed}',
        f'trax_reformer_ext.{stream}.seed = {seed}',
      ),
    )
    for seed in range(n)
  ]


def train_arguments(run, data_dir, folder, more=()):
  """Arguments of the trax-reformer command that trains a run."""
  return [
    'train',
    f'--config_file={CONFIGS / run.config}.gin',
    *(f'--config={binding}' for binding in (*run.bindings, *more)),
    *([f'--data_dir={data_dir}'] if data_dir else []),
    f'--output_dir={folder}',
  ]


def is_done(run, results):
  return _path(run, results).is_file()


def execute(run, work, results, data_dir=None, more=()):
  """Trains a run, or goes on with it, measures it and writes its results.

  Args:
    run: Run.
    work: pathlib.Path, where the directories of runs are.
    results: pathlib.Path, where the CSV goes.
    data_dir: str, or None.
    more: gin bindings on top of all others.

  Raises:
    subprocess.CalledProcessError: a command fails; it has said why.
  """
  folder = work / run.name
  folder.mkdir(parents=True, exist_ok=True)
  seconds, peak = _timed(train_arguments(run, data_dir, folder, more), folder)
  rows = [('training seconds', '', seconds), ('peak MiB', '', peak)]
  for curve, points in curves_of_run(str(folder), run.name).items():
    rows += [(f'{curve} bits/dim', *point) for point in points]
  for label, arguments in run.evaluations.items():
    said = _said([*COMMAND, 'evaluate', f'--output_dir={folder}', *arguments])
    rows += [(f'{label}: {what}', '', value) for what, value in figures(said)]
  if run.memory:
    said = _said([sys.executable, str(HERE / 'memory.py'), str(folder)])
    rows += [(what, '', value) for what, value in figures(said)]
  path = _path(run, results)
  path.parent.mkdir(parents=True, exist_ok=True)
  with written_beside(str(path)) as part, open(part, 'w', newline='') as f:
    writer = csv.writer(f, lineterminator='\n')
    writer.writerow(_COLUMNS)
    writer.writerows(rows)


def read(run, results=RESULTS):
  """The results of a run.

  Returns:
    dict from what was measured to a float, or for curves to a list of (step,
    float).
  """
  found = {}
  with open(_path(run, results), newline='') as f:
    for row in csv.DictReader(f):
      value = float(row['value'])
      if row['step']:
        found.setdefault(row['what'], []).append((int(row['step']), value))
      else:
        found[row['what']] = value
  return found


def figures(said):
  """(what, value) of all figures that a command has printed."""
  found = []
  for pattern in (_EVALUATED, _PREFIXES, _MEMORY):
    for match in re.finditer(pattern, said, re.MULTILINE):
      what, *values = match.groupdict().items()
      found += [
        (f'{what[1]}, {name}', float(value.replace(',', '')))
        for name, value in values
      ]
  return found


def _path(run, results):
  return results / f'{run.name}.csv'


def _timed(arguments, folder):
  """Runs the command: (seconds in all of its goes, MiB at the peak)."""
  times = folder / 'seconds.txt'
  start = time.monotonic()
  process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL)
  try:
    _, status, usage = os.wait4(process.pid, 0)
  except KeyboardInterrupt:
    process.wait()  # it had the signal too, and saves
    raise
  finally:
    with open(times, 'a') as f:
      f.write(f'{time.monotonic() - start:.1f}\n')
  code = os.waitstatus_to_exitcode(status)
  if code:
    raise subprocess.CalledProcessError(code, arguments)
  seconds = sum(map(float, times.read_text().split()))
  return round(seconds, 1), usage.ru_maxrss // 1024


def _said(command):
  return subprocess.run(
    command, stdout=subprocess.PIPE, text=True, check=True
  ).stdout

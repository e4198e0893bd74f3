"""Runs of experiments: trained, measured, kept, and not done twice."""

import csv
import importlib
import subprocess
import sys

import gin
import pytest
from PIL import Image

import trax_reformer_ext
from tests.experiments.conftest import EXPERIMENTS
from trax_reformer_ext import cli  # noqa: F401  registers all with gin
from trax_reformer_ext.training import configs

SCRIPT = [sys.executable, str(EXPERIMENTS / 'run.py')]
TINY = (
  'trax_reformer_ext.duplication_inputs.length = 32',
  'trax_reformer_ext.duplication_inputs.n_eval_examples = 8',
  'trax_reformer_ext.ReformerLM.d_model = 8',
  'trax_reformer_ext.ReformerLM.pos_d_axial_embs = (4, 4)',
  'trax_reformer_ext.ReformerLM.d_ff = 8',
  'train.steps = 4',
  'train.eval_frequency = 2',
  'train.eval_steps = 1',
)


def run_script(*arguments):
  return subprocess.run(
    [*SCRIPT, *map(str, arguments)], capture_output=True, text=True
  )


@pytest.fixture
def runs():
  return importlib.import_module('runs')


@pytest.mark.slow  # five processes
def test_a_run_is_trained_measured_and_kept(runs, tmp_path, capfd):
  run = runs.Run(
    'some/run',
    'duplication',
    TINY,
    {'all': ['--split=test', '--ablate_lsh'], 'more': ['--hash_seeds=2']},
    memory=True,
  )
  assert not runs.is_done(run, tmp_path)
  runs.execute(run, tmp_path / 'work', tmp_path)
  assert runs.is_done(run, tmp_path)
  found = runs.read(run, tmp_path)
  assert found['training seconds'] > 1 and found['peak MiB'] > 100
  assert found['temporary memory, mib'] > 0
  assert [step for step, _ in found['held-out bits/dim']] == [1, 2, 4]
  for what in ('all: test', 'all: test, LSH zeroed', 'more: validation, hash'):
    (bits, *_) = [v for k, v in found.items() if k.startswith(what)]
    assert 6 < bits < 9
  assert 'more: validation, hash seed 1, accuracy' in found


def test_what_leaks_is_read_from_what_evaluate_prints(runs):
  said = (
    'Data: enwik8\nvalidation: 3.6623 bits/dim, accuracy 0.3670\n'
    'test, 12,479 positions: 3.7009 bits/dim from the whole sequence, 3.7014 '
    'from the prefix alone, -0.0004 with a standard error of 0.0002\n'
  )
  assert dict(runs.figures(said)) == {
    'validation, bits': 3.6623,
    'validation, accuracy': 0.367,
    'test, positions': 12479,
    'test, whole': 3.7009,
    'test, prefix': 3.7014,
    'test, leak': -0.0004,
    'test, error': 0.0002,
  }


def test_a_command_that_fails_leaves_no_result(runs, tmp_path, capfd):
  run = runs.Run('bad', 'duplication', ('train.nothing = 1',))
  with pytest.raises(subprocess.CalledProcessError):
    runs.execute(run, tmp_path / 'work', tmp_path)
  assert not runs.is_done(run, tmp_path)
  assert "parameter named 'nothing'" in capfd.readouterr().err


def write_results(experiment, folder):
  """CSV files of made-up figures for all runs of an experiment."""
  for i, run in enumerate(experiment.RUNS):
    rows = [('training seconds', '', 60 * (i + 1)), ('peak MiB', '', 900)]
    rows += [('temporary memory, mib', '', 10 + i)]
    rows += [('held-out bits/dim', s, 8 - i / 9 - s / 100) for s in (1, 50, 99)]
    for label in run.evaluations:
      for part in ('', ', hash seed 0', ', LSH zeroed', ', LSH random buckets'):
        rows += [(f'{label}: test{part}, bits', '', 2 + i / 100)]
        rows += [(f'{label}: test{part}, accuracy', '', 0.5 + i / 100)]
      for name in ('whole', 'prefix', 'leak', 'error'):
        rows += [(f'{label}: test, {name}', '', i / 1000)]
    path = folder / f'{run.name}.csv'
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'w', newline='') as f:
      csv.writer(f).writerows([('what', 'step', 'value'), *rows])


@pytest.mark.parametrize(
  'name,said,n_pictures',
  [
    ('duplication', '| LSH-4 | 54.0 (53.0 to 55.0) | 54.0 (', 1),
    ('short_text', '| reversible | 2.010 (2.000 to 2.020) |  | 10.0 MiB |', 1),
    ('contribution', '| trained with zeros in its place | 2.040', 0),
    ('modes', '| +0.0000 ± 0.0000, +0.0010 ± 0.0010, +0.0020', 0),
    ('rounds', '| LSH-8 | 2.040 (2.030 to 2.050) | +0.030, +0.0', 2),
    ('bfloat16', '2.040 (2.030 to 2.050) | +0.030, +0.030, +0.030 | 5', 1),
    ('depth', '| 20 | 14.0 MiB | 2.040 | 5.0 min |', 1),
  ],
)
def test_report(name, said, n_pictures, tmp_path, capsys):
  experiment = importlib.import_module(name)
  write_results(experiment, tmp_path / 'results')
  experiment.report(tmp_path / 'results', tmp_path / 'pictures')
  assert said in capsys.readouterr().out
  pictures = list(tmp_path.glob('pictures/*'))
  assert len(pictures) == n_pictures
  for path in pictures:
    assert len(Image.open(path).convert('RGB').getcolors(2**20)) > 10


def test_what_is_done_is_listed_and_reported(tmp_path):
  experiment = importlib.import_module('depth')
  where = f'--results_dir={tmp_path}', f'--pictures_dir={tmp_path / "p"}'
  write_results(experiment, tmp_path)
  (tmp_path / 'depth/20.csv').unlink()
  done = run_script('--list', '--only=depth', *where)
  assert done.stdout.splitlines()[-2:] == ['done   depth/12', 'to do  depth/20']
  said = run_script('--report', '--only=depth', *where).stdout
  assert said == 'depth: not all runs are done\n\n'


def all_runs():
  names = importlib.import_module('run').EXPERIMENTS
  return [run for e in names for run in importlib.import_module(e).RUNS]


def test_every_run_has_a_name_of_its_own():
  runs = all_runs()
  assert len(set(map(str, runs))) == len({run.name for run in runs})


def test_every_run_has_a_model(runs):
  for run in all_runs():
    config = str(runs.CONFIGS / f'{run.config}.gin')
    configs.parse([config], list(run.bindings))
    trax_reformer_ext.ReformerLM(mode='train')
    gin.clear_config()


@pytest.mark.parametrize(
  'arguments,message',
  [
    (['--only=depht'], "--only has 'depht': give some of duplication"),
    (['--quick'], '--quick needs a --results_dir of its own'),
  ],
)
def test_mistakes(arguments, message):
  done = run_script(*arguments)
  assert done.returncode == 2 and message in done.stderr

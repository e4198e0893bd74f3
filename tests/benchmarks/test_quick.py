"""Benchmarks by their command, as short as --quick makes them."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

_BENCHMARKS = pathlib.Path(__file__).parents[2] / 'benchmarks'


@pytest.mark.slow
@pytest.mark.parametrize(
  'name', ['generation', 'streams', 'where_time_goes', 'long_context']
)
def test_quick(name, tmp_path):
  if name in ('streams', 'long_context') and not os.environ.get(
    'REFORMER_DATA'
  ):
    pytest.skip('reads enwik8 in REFORMER_DATA, which is not set')
  done = subprocess.run(
    [
      sys.executable,
      str(_BENCHMARKS / f'{name}.py'),
      '--quick',
      f'--output_dir={tmp_path}',
    ],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert json.loads((tmp_path / f'{name}.json').read_text())
  assert (tmp_path / f'{name}.png').stat().st_size > 5000


@pytest.mark.slow
def test_quick_without_a_gpu(tmp_path):
  command = [sys.executable, str(_BENCHMARKS / 'gpu.py')]
  done = subprocess.run(
    command + ['--quick', f'--output_dir={tmp_path}'],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  rows = json.loads((tmp_path / 'gpu.json').read_text())
  assert not [name for name, row in rows.items() if 'error' in row]
  for start in 'error, ring', 'LSH, 256', 'lm, 256', 'long', 'generation':
    assert any(name.startswith(start) for name in rows), start
  picture = tmp_path / 'gpu_attention_by_length.png'
  assert picture.stat().st_size > 5000

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

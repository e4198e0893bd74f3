"""Fixtures of trax-reformer prepare."""

import pytest

from trax_reformer_ext import cli


@pytest.fixture
def manual(tmp_path):
  (tmp_path / 'manual').mkdir()
  return tmp_path / 'manual'


@pytest.fixture
def data_dir(tmp_path):
  return tmp_path / 'data'


@pytest.fixture
def call(capsys, manual, data_dir):
  """Runs the command in this process: (exit code, stdout, stderr)."""

  def run(name, *arguments, manual_dir=manual):
    arguments = [f'--data_dir={data_dir}', *arguments]
    arguments.append(f'--manual_dir={manual_dir}')
    code = cli.main(['prepare', name, *arguments])
    return code, *capsys.readouterr()

  return run

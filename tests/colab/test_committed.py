"""What is committed of the notebooks: outputs of a whole run, and no more."""

import ast
import importlib.util
import os
import re
import runpy
import shutil
import subprocess

import pytest
import setuptools

from tests.colab import notebooks
from tests.colab.test_notebooks import RUNS

ROOT = notebooks.FOLDER.parent
LARGEST = 2_000_000  # bytes


@pytest.fixture(params=notebooks.NAMES)
def name(request):
  return request.param


@pytest.fixture
def notebook(name):
  return notebooks.read(name)


@pytest.fixture(scope='module')
def url():
  """The address in setup.py; '' as long as there is none."""
  arguments = {}
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(setuptools, 'setup', arguments.update)
    runpy.run_path(str(ROOT / 'setup.py'))
  return arguments['url']


def test_all_are_known_and_run():
  found = {path.stem for path in notebooks.FOLDER.glob('*.ipynb')}
  assert found == set(notebooks.NAMES) == set(RUNS)


def test_it_was_run_from_top_to_bottom(notebook):
  counts = [cell.execution_count for cell in notebooks.code_cells(notebook)]
  assert counts == list(range(1, len(counts) + 1))


def test_it_has_all_of_its_pictures(name, notebook):
  assert len(notebooks.pictures(notebook)) == RUNS[name][1]


def test_its_outputs_are_quiet(notebook):
  """No error, warning or log, and no path of the machine that it ran on."""
  for cell in notebooks.code_cells(notebook):
    for output in cell.outputs:
      assert output.output_type != 'error'
      assert output.get('name') != 'stderr', output.text
      data = output.get('data', {})
      text = output.get('text', '') + data.get('text/plain', '')
      text += data.get('text/html', '')
      assert len(text) < 4000
      assert not re.search(r'(^|[\s\'"(])(/|~|[A-Z]:\\)\w', text), text
      assert 'arning' not in text
  assert set(notebook.metadata) == {'colab', 'kernelspec', 'language_info'}


def test_it_is_small(name):
  assert os.path.getsize(notebooks.FOLDER / f'{name}.ipynb') < LARGEST


def test_badge_and_install_cell_have_the_address_of_setup_py(
  name, notebook, url
):
  badge = re.search(r'badge\.svg\)\]\((.*)\)', notebook.cells[0].source)[1]
  colab = 'https://colab.research.google.com/'
  if url:
    place = url.removeprefix('https://github.com/').removesuffix('.git')
    colab += f'github/{place}/blob/main/colab/{name}.ipynb'
  assert badge == colab
  (address,) = [
    ast.literal_eval(node.value)
    for node in ast.parse(_install_cell(notebook)).body
    if isinstance(node, ast.Assign)
    and ast.unparse(node.targets[0]) == 'ADDRESS'
  ]
  assert address == url


def test_all_install_in_the_same_way():
  cells = {_install_cell(notebooks.read(name)) for name in notebooks.NAMES}
  assert len(cells) == 1


def test_first_cell_says_what_it_needs_and_takes(notebook):
  first = notebook.cells[0].source
  assert 'It needs' in first
  for runtime in ('CPU, 2 cores', 'GPU', 'TPU'):
    assert runtime in first
  assert re.search(r'\d min', first) and 'not yet measured' in first


def _install(notebook, monkeypatch, address='', gpu=None):
  """What the install cell runs where the package is not installed."""
  ran = []
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  monkeypatch.setattr(shutil, 'which', lambda name: gpu)
  monkeypatch.setattr(subprocess, 'run', lambda line, check: ran.append(line))
  monkeypatch.setenv('TF_CPP_MIN_LOG_LEVEL', '3')
  source = _install_cell(notebook)
  source = source.replace("ADDRESS = ''", f'ADDRESS = {address!r}')
  exec(compile(source, 'install', 'exec'), {})
  return ran


def test_it_installs_from_the_checkout_without_an_address(
  notebook, monkeypatch, capsys
):
  monkeypatch.chdir(notebooks.FOLDER)
  ((*pip, source),) = _install(notebook, monkeypatch)
  assert pip[1:] == ['-m', 'pip', 'install', '-q'] and source == '..'
  assert 'from the checkout' in capsys.readouterr().out


def test_it_installs_from_its_address(notebook, monkeypatch, capsys):
  ((*_, source),) = _install(notebook, monkeypatch, 'https://host/project')
  assert source == 'git+https://host/project'
  assert not capsys.readouterr().out


def test_it_installs_jax_for_a_gpu_where_there_is_one(notebook, monkeypatch):
  ((*_, jax),) = _install(notebook, monkeypatch, 'https://host/p', 'nvidia-smi')
  assert jax == 'jax[cuda12]'


def test_it_says_where_to_run_without_address_and_checkout(
  notebook, monkeypatch, tmp_path
):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(SystemExit, match='in the folder colab of a checkout'):
    _install(notebook, monkeypatch)


def test_readme_links_it_with_a_picture(name):
  readme = (ROOT / 'README.md').read_text()
  linked = rf'\[!\[[^]]+\]\((colab/[^)]+)\)\]\(colab/{name}\.ipynb\)'
  picture = re.search(linked, readme)
  assert picture, f'no picture links to colab/{name}.ipynb'
  assert (ROOT / picture[1]).is_file()


def _install_cell(notebook):
  return notebooks.code_cells(notebook)[0].source

"""Pictures and files of benchmarks."""

import importlib
import json
import pathlib
import sys

import pytest

BENCHMARKS = pathlib.Path(__file__).parents[2] / 'benchmarks'


@pytest.fixture
def results(monkeypatch):
  monkeypatch.syspath_prepend(str(BENCHMARKS))
  yield importlib.import_module('results')
  del sys.modules['results']


def test_bars_show_every_figure_and_name(results):
  groups = {
    '1,024 tokens': {'this package': 0.13, 'Trax': 0.2},
    '4,096 tokens': {'this package': 0.16},
  }
  figure = results.bars(groups, 'seconds', 'Forward')
  (axes,) = figure.axes
  assert [patch.get_width() for patch in axes.patches] == [0.13, 0.2, 0.16]
  assert [t.get_text() for t in axes.texts] == ['0.13', '0.20', '0.16']
  assert [t.get_text() for t in axes.get_yticklabels()] == list(groups)
  (legend,) = figure.legends
  assert [t.get_text() for t in legend.get_texts()] == ['this package', 'Trax']
  # One colour a series.
  colours = [patch.get_facecolor() for patch in axes.patches]
  assert colours[0] == colours[2] != colours[1]


def test_figures_and_pictures_are_files(results, tmp_path):
  found = {'4 layers': {'this package': 1.5}}
  folder = tmp_path / 'made'
  picture = 'time', results.bars(found, 'seconds', 'A step')
  results.save(str(folder), 'steps', found, picture)
  assert json.loads((folder / 'steps.json').read_text()) == found
  assert (folder / 'time.png').read_bytes().startswith(b'\x89PNG')
  assert len(list(folder.iterdir())) == 2

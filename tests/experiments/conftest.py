"""The scripts of experiments, importable as they import each other."""

import pathlib
import sys

import pytest

EXPERIMENTS = pathlib.Path(__file__).parents[2] / 'experiments'


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
  before = set(sys.modules)
  monkeypatch.syspath_prepend(str(EXPERIMENTS))
  yield
  for name in set(sys.modules) - before:
    path = getattr(sys.modules[name], '__file__', None) or ''
    if path.startswith(str(EXPERIMENTS)):
      del sys.modules[name]

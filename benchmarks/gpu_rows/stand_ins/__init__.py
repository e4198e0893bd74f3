"""Lets Trax be imported where TensorFlow and Gym are not installed.

Trax 1.4.1 imports both for its data pipelines and its other back end; a
ReformerLM under JAX runs nothing of them. Before Trax is imported:

  import stand_ins
  stand_ins.install()

Then every import from a package below that is not installed succeeds, and gives
classes that can be called, subclassed and used as decorators, and do nothing.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types

PACKAGES = 'funcsigs gym tensorflow tensorflow_datasets tensorflow_text'.split()


def install():
  """Stands in for the packages that are not installed; returns their names."""
  missing = [p for p in PACKAGES if importlib.util.find_spec(p) is None]
  sys.meta_path.append(_Finder(missing))
  return missing


def _attribute(_, name):
  """Every attribute is Nothing, but for Python's own."""
  if name.startswith('__'):
    raise AttributeError(name)
  return Nothing


class _Meta(type):
  __getattr__ = _attribute


class Nothing(metaclass=_Meta):
  """Stands for a class, a function or a value of a package that is missing."""

  __getattr__ = _attribute

  def __init__(self, *args, **kwargs):
    pass

  def __init_subclass__(cls, **kwargs):
    pass

  def __call__(self, decorated=None, *args, **kwargs):
    return decorated


class _Module(types.ModuleType):
  __getattr__ = _attribute
  __all__ = ()  # what `from ... import *` takes


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
  """Finds these packages and all their submodules, and makes them empty."""

  def __init__(self, packages):
    self._packages = packages

  def find_spec(self, name, path=None, target=None):
    if name.partition('.')[0] in self._packages:
      return importlib.machinery.ModuleSpec(name, self, is_package=True)
    return None

  def create_module(self, spec):
    return _Module(spec.name)

  def exec_module(self, module):
    pass

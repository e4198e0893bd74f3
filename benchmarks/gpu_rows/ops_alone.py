"""trax_reformer_ext.ops without the package around it, which needs Trax."""

import pathlib
import sys
import types


def make_importable():
  """Lets trax_reformer_ext.ops be imported where there is no Trax."""
  root = pathlib.Path(__file__).parents[2] / 'trax_reformer_ext'
  package = types.ModuleType('trax_reformer_ext')
  package.__path__ = [str(root)]
  sys.modules.setdefault('trax_reformer_ext', package)

"""Set-up of all tests."""

import atexit
import os
import pathlib
import random
import shutil
import tempfile

# Compiling takes most of the tests' time, and their programs are tiny.
os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '')
  + ' --xla_backend_optimization_level=0'
  + ' --xla_llvm_disable_expensive_passes=true'
)

# Many tests compile the same programs; those of pytest-xdist's workers and of
# processes that tests start too.
if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
  _compiled = tempfile.mkdtemp(prefix='compiled')
  atexit.register(shutil.rmtree, _compiled, ignore_errors=True)
  os.environ['JAX_COMPILATION_CACHE_DIR'] = _compiled
  os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
  os.environ['JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES'] = 'none'

# ruff: noqa: E402
import gin
import pytest

# Before any test imports Trax, whose import is much faster this way.
import trax_reformer_ext  # noqa: F401


@pytest.fixture
def real():
  """The folder of real data, as the environment variable has it."""
  folder = os.environ.get('REFORMER_DATA')
  if not folder:
    pytest.skip('REFORMER_DATA does not name a folder of real data')
  return pathlib.Path(folder)


@pytest.fixture(autouse=True)
def the_same_seeds():
  """Trax's layers draw the seeds of their initial weights from Python's own."""
  random.seed(0)


@pytest.fixture(autouse=True)
def no_config_is_left():
  """What a command configured holds for its own test alone."""
  yield
  gin.clear_config()

"""Bridges Trax 1.4.1 and current JAX: the only file that knows the gaps.

Trax's modules are patched, JAX's are not, and what still works keeps working as
it did: no function is replaced that has not been broken by the versions of JAX
and Python that the package supports.
"""

import atexit
import contextlib
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import logging
import os
import pickle
import re
import sys
import tempfile
import types
import weakref

_NOTICE = re.compile(
  rb'WARNING: All log messages before absl::InitializeLog'
  rb'|I\d{4} .*(port|cudart_stub)\.cc:'
)


@functools.cache
def apply():
  """Imports Trax and patches it; safe to call again.

  After it, `import trax.trainer` works, and training on one device by
  trax.supervised.Trainer, trax.supervised.training.Loop and its
  memory-efficient variant. Where several devices are visible one is used, and
  the log says so.
  """
  _silence_gym()
  with _without_tensorflow_notices():
    _import_trax()

  import jax
  import jax.lib

  _read_pickles_without_running_them()
  _compare_containers_alone()
  _close_summaries_before_threads_end()
  if sys.version_info >= (3, 12):
    _skip_whole_examples()
  if not hasattr(jax, 'device_put_replicated'):
    _use_one_device()
  if not hasattr(jax, 'xla_computation'):
    _write_graphs_by_lowering()
  if not hasattr(jax.lib, 'xla_bridge'):
    _free_accelerators_by_live_arrays()
  if not hasattr(jax.lib, 'xla_extension'):
    sys.meta_path.insert(0, _TrainerFinder())


def _silence_gym():
  """Drops the notice that gym prints at every start."""
  try:
    import gym_notices.notices
  except ImportError:
    return
  gym_notices.notices.notices.clear()


@contextlib.contextmanager
def _without_tensorflow_notices():
  """Drops what TensorFlow's libraries say on stderr when they are loaded.

  They write to the file descriptor before their log levels are set. Lines of
  any other origin are passed on.
  """
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  sys.stderr.flush()
  try:
    stderr = os.dup(2)
  except OSError:  # closed
    yield
    return
  with tempfile.TemporaryFile() as said:
    os.dup2(said.fileno(), 2)
    try:
      yield
    finally:
      sys.stderr.flush()
      os.dup2(stderr, 2)
      os.close(stderr)
      said.seek(0)
      lines = [line for line in said if not _NOTICE.match(line)]
      if lines:
        os.write(2, b''.join(lines))


def _import_trax():
  """Imports Trax without the stack traces that it takes at import.

  trax.layers.assert_shape asks inspect.stack() for its caller 65 times, and
  the source lines of all frames, looked up in thousands of modules, take far
  longer than the rest of the import (46 of 60 seconds). It uses one frame.
  """
  stack = inspect.stack

  def stack_of_trax(context=1):
    frame = sys._getframe(1)
    if frame.f_globals.get('__name__') != 'trax.layers.assert_shape':
      return stack(context)
    return [(frame,), (frame.f_back,)]

  inspect.stack = stack_of_trax
  try:
    import trax.supervised.trainer_lib  # noqa: F401
  finally:
    inspect.stack = stack


def _read_pickles_without_running_them():
  """Lets Trax load checkpoints from strangers: data is built, no code runs."""
  from trax.data import inputs
  from trax.layers import base
  from trax.supervised import training

  from trax_reformer_ext import unpickling

  safe = types.SimpleNamespace(
    load=unpickling.load,
    dump=pickle.dump,
    HIGHEST_PROTOCOL=pickle.HIGHEST_PROTOCOL,
  )
  for module in (inputs, base, training):
    module.pickle = safe


def _compare_containers_alone():
  """Lets trax.fastmath.tree_unflatten meet arrays, so that checkpoints load.

  It compares every leaf with (), which newer JAX refuses for its arrays.
  """
  from trax import fastmath

  # fastmath.numpy is the back end's numpy; the module is found by its name.
  module = sys.modules['trax.fastmath.numpy']
  tree_unflatten = module.tree_unflatten

  def unflatten(flat, tree, copy_from_tree=None):
    if hasattr(tree, 'shape'):
      return flat[0], flat[1:]
    return tree_unflatten(flat, tree, copy_from_tree=copy_from_tree)

  module.tree_unflatten = unflatten
  fastmath.tree_unflatten = unflatten


def _close_summaries_before_threads_end():
  """Lets a process end whose trax.supervised.Trainer was not closed.

  The writer of its summaries is closed when it is deleted, and then waits for
  ever for a thread that Python has ended.
  """
  from trax import jaxboard

  init, writers = jaxboard.SummaryWriter.__init__, weakref.WeakSet()

  def init_and_remember(self, *args, **kwargs):
    init(self, *args, **kwargs)
    writers.add(self)

  def close_all():
    for writer in list(writers):
      writer.close()

  jaxboard.SummaryWriter.__init__ = init_and_remember
  atexit.register(close_all)


def _skip_whole_examples():
  """Lets trax.data.data_streams draw how many examples it skips.

  Its bound is the float 1e5, which random.randint refuses since Python 3.12.
  """
  from trax.data import tf_inputs

  tf_inputs._MAX_SKIP_EXAMPLES = int(tf_inputs._MAX_SKIP_EXAMPLES)


def _use_one_device():
  """Makes Trax see one device: its pmap path needs what newer JAX lacks.

  Its own trainers say so where there are more; this package's Loop trains on
  all of them.
  """
  import jax
  from trax import layers as tl
  from trax.fastmath import jax as backend
  from trax.optimizers import trainer
  from trax.supervised import trainer_lib

  @functools.cache
  def warn():
    n = jax.local_device_count()
    if n > 1:
      logging.getLogger('trax_reformer_ext').warning(
        '%d devices are visible, this run uses one of them: a trainer of Trax '
        '1.4.1 and JAX %s cannot train on several',
        n,
        jax.__version__,
      )

  def warning(cls):
    init = cls.__init__

    @functools.wraps(init)
    def init_and_warn(self, *args, **kwargs):
      if type(self) is cls:
        warn()
      init(self, *args, **kwargs)

    cls.__init__ = init_and_warn

  for cls in (
    trainer.Trainer,
    trainer.ReversibleSerialTrainer,
    trainer_lib.Trainer,
  ):
    warning(cls)

  def on_accelerator(x):
    # As Trax's, which leaves x on the host where there are several.
    for platform in ('gpu', 'tpu'):
      try:
        return jax.device_put(x, jax.devices(platform)[0])
      except RuntimeError:
        pass
    return x

  backend.JAX_BACKEND['local_device_count'] = lambda: 1
  backend.JAX_BACKEND['global_device_count'] = lambda: 1

  def on_cpu(x):
    # As Trax's, which takes the first CPU of all hosts.
    return jax.device_put(x, jax.local_devices(backend='cpu')[0])

  tl.on_accelerator, tl.on_cpu = on_accelerator, on_cpu


def _write_graphs_by_lowering():
  """Gives trax.supervised.Trainer a save_computation_graphs that works."""
  import jax
  from trax.supervised import trainer_lib

  def save_computation_graphs(self):
    """Writes forward.txt (HLO) and forward.dot to the output directory."""
    if self.n_devices != 1:
      return
    batch = next(self._train_stream)
    lowered = jax.jit(self._model_predict_eval.pure_fn).lower(
      batch, self._opt_state.weights[0], self._model_state[0], self._rngs[0]
    )
    graph = lowered.compiler_ir('hlo')
    for name, text in (
      ('forward.txt', graph.as_hlo_text()),
      ('forward.dot', graph.as_hlo_dot_graph()),
    ):
      with open(os.path.join(self._output_dir, name), 'w') as f:
        f.write(text)

  trainer_lib.Trainer.save_computation_graphs = save_computation_graphs


def _free_accelerators_by_live_arrays():
  """For use_memory_efficient_trainer=2, which frees them at every step."""
  import jax
  from trax.optimizers import trainer

  def _free_accelerators(self, exceptions=(), keep_constants=True):
    keep = {id(x) for x in jax.tree.leaves(exceptions)}
    for x in jax.live_arrays():
      on_host = all(d.platform == 'cpu' for d in x.devices())
      if on_host or id(x) in keep or (keep_constants and not x.shape):
        continue
      x.delete()

  trainer.ReversibleSerialTrainer._free_accelerators = _free_accelerators


class _TrainerFinder(importlib.abc.MetaPathFinder):
  """Finds trax.trainer, for the loader below."""

  def find_spec(self, name, path=None, target=None):
    if name != 'trax.trainer':
      return None
    spec = importlib.machinery.PathFinder.find_spec(name, path)
    if spec is None:
      return None
    loader = _TrainerLoader(name, spec.origin)
    return importlib.util.spec_from_file_location(
      name, spec.origin, loader=loader
    )


class _TrainerLoader(importlib.machinery.SourceFileLoader):
  """Imports trax.trainer with a stand-in for jax.lib.xla_extension.

  Only the GPU cluster of Trax's trainer uses that module. The stand-in is gone
  after the import, so that nobody else takes it for the real one.
  """

  def exec_module(self, module):
    name = 'jax.lib.xla_extension'
    sys.modules[name] = types.ModuleType(name)
    try:
      super().exec_module(module)
    finally:
      del sys.modules[name]

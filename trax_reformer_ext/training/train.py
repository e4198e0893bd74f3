"""Training as configured by gin, through Trax's own train function."""

import contextlib
import functools
import inspect
import logging

import gin
import jax
from trax.supervised import trainer_lib, training

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.training.configs import configured
from trax_reformer_ext.training.conversion import format_of
from trax_reformer_ext.training.loop import Loop

_LOG = logging.getLogger('trax_reformer_ext')


def train(output_dir):
  """Runs trax.supervised.train, as configured, with this package's Loop.

  On all devices that are visible, or as many as num_devices.value says, of
  every host.

  Args:
    output_dir: str, where checkpoints, scalars and configs go.

  Returns:
    The Loop, or Trax's TrainerState with train.use_loop = False.

  Raises:
    ReformerError: several hosts and data that they can't share.
  """
  arguments = {}
  if jax.process_count() > 1:
    arguments['inputs'] = _inputs_of_this_host()
  start = gin.get_bindings('train').get('init_checkpoint')
  if start and _uses_loop():
    arguments['init_checkpoint'] = None  # our Loop takes any format
  elif start and format_of(start) != 'trax':
    raise ReformerError(
      f'train.init_checkpoint is {start!r} with train.use_loop False: Trax '
      'takes its own model.pkl.gz alone there; leave use_loop True'
    )
  with _our_loop(start):
    trained = trainer_lib.train(output_dir=output_dir, **arguments)
  if isinstance(trained, Loop):
    trained.close()
  return trained


def _inputs_of_this_host():
  """train.inputs, told which of the hosts asks."""
  inputs = configured('inputs')
  share = dict(host_id=jax.process_index(), n_hosts=jax.process_count())
  known = inspect.signature(inputs).parameters if callable(inputs) else ()
  if not set(share) <= set(known):
    name = getattr(inputs, '__name__', type(inputs).__name__)
    raise ReformerError(
      f'train.inputs is {name}, with {share["n_hosts"]} hosts: give inputs '
      'that take host_id and n_hosts, as all of trax_reformer_ext do'
    )
  return functools.partial(inputs, **share)


@contextlib.contextmanager
def _our_loop(init_checkpoint):
  """Trax's train builds its Loop by name; for this call the name is ours.

  A configurable called train of our own would make every config ambiguous.
  What Trax prints goes to the log, as our Loop prints the same in one line.
  The number of devices, which Trax takes to be one, is asked for by name too,
  so that its data pipelines make batches for all of them.
  """
  log = lambda message, stdout=True: message and _LOG.info(message)
  num_devices = trainer_lib.num_devices
  count = lambda: num_devices() or jax.local_device_count()
  loop = functools.partial(Loop, init_checkpoint=init_checkpoint)
  ours = {training: {'Loop': loop, '_log': log}}
  if _uses_loop():
    ours[trainer_lib] = {'num_devices': count}
  before = {m: {name: getattr(m, name) for name in ours[m]} for m in ours}
  _set(ours)
  try:
    yield
  finally:
    _set(before)


def _uses_loop():
  return gin.get_bindings('train').get('use_loop', True)


def _set(names):
  for module, values in names.items():
    for name, value in values.items():
      setattr(module, name, value)

"""Training as configured by gin, through Trax's own train function."""

import contextlib
import logging

from trax.supervised import trainer_lib, training

from trax_reformer_ext.training.loop import Loop

_LOG = logging.getLogger('trax_reformer_ext')


def train(output_dir):
  """Runs trax.supervised.train, as configured, with this package's Loop.

  Args:
    output_dir: str, where checkpoints, scalars and configs go.

  Returns:
    The Loop, or Trax's TrainerState with train.use_loop = False.
  """
  with _our_loop():
    trained = trainer_lib.train(output_dir=output_dir)
  if isinstance(trained, Loop):
    trained.close()
  return trained


@contextlib.contextmanager
def _our_loop():
  """Trax's train builds its Loop by name; for this call the name is ours.

  A configurable called train of our own would make every config ambiguous.
  What Trax prints goes to the log, as our Loop prints the same in one line.
  """
  log = lambda message, stdout=True: message and _LOG.info(message)
  before = training.Loop, training._log
  training.Loop, training._log = Loop, log
  try:
    yield
  finally:
    training.Loop, training._log = before

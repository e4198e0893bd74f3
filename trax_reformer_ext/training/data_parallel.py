"""Training steps over the examples of a batch on several devices.

Weights, states and optimizer slots are the same on every device, batches are
cut along their examples, and the compiler adds what has to be exchanged: the
step computes what one device would compute with the whole batch.
"""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from trax import optimizers
from trax.layers import base

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.ops.devices import AXIS


class Devices:
  """The devices of a run, all hosts together."""

  def __init__(self, n_devices=None):
    """Chooses devices.

    Args:
      n_devices: int, devices of this host; None for all that are visible.

    Raises:
      ReformerError: there are not as many.
    """
    visible = jax.local_device_count()
    n = visible if n_devices is None else n_devices
    if type(n) is not int or not 1 <= n <= visible:
      raise ReformerError(
        f'num_devices.value is {n_devices!r}, but {visible} devices are '
        f'visible: give an int in [1, {visible}]'
      )
    chosen = []
    for process in range(jax.process_count()):
      own = [d for d in jax.devices() if d.process_index == process]
      chosen += own[:n]
    self.n = len(chosen)
    self._mesh = Mesh(np.array(chosen), (AXIS,))
    self._same = NamedSharding(self._mesh, PartitionSpec())
    self._split = NamedSharding(self._mesh, PartitionSpec(AXIS))

  def in_use(self):
    """A context in which functions are compiled for these devices."""
    if self.n == 1:
      return contextlib.nullcontext()
    return jax.set_mesh(self._mesh)

  def same(self, tree):
    """Puts the same arrays on every device."""
    if self.n == 1:
      return tree
    return jax.tree.map(lambda x: self._put(x, self._same), tree)

  def split(self, batch):
    """Cuts a batch, of which every host has its own examples.

    Args:
      batch: tuple of arrays [examples of this host, ...].

    Raises:
      ReformerError: the examples can't be divided among the devices.
    """
    if self.n == 1:
      return batch
    n_examples = len(batch[0]) * jax.process_count()
    if n_examples % self.n:
      raise ReformerError(
        f'a batch has {n_examples} examples, over {self.n} devices: set the '
        f'batch size to a multiple of {self.n}, or num_devices.value to a '
        'divisor'
      )
    make = jax.make_array_from_process_local_data
    return tuple(make(self._split, np.asarray(x)) for x in batch)

  def split_copies(self, batch):
    """Cuts a batch that every host has as a whole, where that can be done."""
    if self.n == 1:
      return batch
    examples = len(batch[0])
    sharding = self._same if examples % self.n else self._split
    return tuple(self._put(x, sharding) for x in batch)

  def _put(self, x, sharding):
    """Puts an array, which all hosts have, on all devices."""
    if getattr(x, 'sharding', None) == sharding:
      return x
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, x.__getitem__)

  def check_options(self, memory_efficient, adasum):
    """Refuses what works on one device alone, or not at all.

    Args:
      memory_efficient: train.use_memory_efficient_trainer.
      adasum: train.adasum.

    Raises:
      ReformerError: names the parameter.
    """
    if base.N_WEIGHTS_SHARDS > 1:
      raise ReformerError(
        f'train.n_weights_shards is {base.N_WEIGHTS_SHARDS}: weights are the '
        'same on every device, give 1'
      )
    for name, value in (
      ('use_memory_efficient_trainer', memory_efficient),
      ('adasum', adasum),
    ):
      if value and self.n > 1:
        raise ReformerError(
          f'train.{name} is {value!r}, with {self.n} devices: set it to False, '
          'or num_devices.value to 1'
        )


class Trainer(optimizers.Trainer):
  """Trax's Trainer on the devices of a run.

  A step whose loss or gradient is not finite changes nothing; its statistics
  say so as 'finite'.
  """

  def __init__(self, model_with_loss, optimizer, devices):
    """Compiles nothing yet.

    Args:
      model_with_loss: initialised Trax layer, model and loss.
      optimizer: initialised Trax optimizer.
      devices: Devices.
    """
    self._devices = devices
    super().__init__(model_with_loss, optimizer, n_devices=1)
    grad = jax.value_and_grad(model_with_loss.pure_fn, argnums=1, has_aux=True)

    def update(weights, slots, step, opt_params, batch, state, rng):
      (loss, new_state), gradients = grad(batch, weights, state, rng)
      new_weights, new_slots, stats = optimizer.tree_update(
        step, gradients, weights, slots, opt_params, store_slots=False
      )
      finite = jnp.isfinite(loss) & jnp.isfinite(stats['gradients_l2'])
      keep = lambda new, old: jax.tree.map(
        lambda x, y: jnp.where(finite, x, y), new, old
      )
      new_weights, new_slots = keep((new_weights, new_slots), (weights, slots))
      stats = dict(stats, loss=loss, finite=finite)
      return new_weights, new_slots, new_state, stats

    self._update = jax.jit(update)

  def one_step(self, batch, rng, step=0, learning_rate=None):
    """Runs one step; as Trax's.

    Args:
      batch: tuple of arrays, examples first; of this host.
      rng: random key, the same on all hosts.
      step: int.
      learning_rate: float; None for the optimizer's.

    Returns:
      (loss, dict of statistics), arrays without dimensions.
    """
    if learning_rate is not None:
      self._opt_params['learning_rate'] = learning_rate
    model = self._accelerated_model_with_loss
    same = self._devices.same
    arguments = (
      same(model.weights),
      same(self._slots),
      np.int32(step),
      jax.tree.map(np.asarray, self._opt_params),
      self._devices.split(batch),
      same(model.state),
      np.asarray(rng),
    )
    with self._devices.in_use():
      weights, self._slots, state, stats = self._update(*arguments)
    model.weights, model.state = weights, state
    self._optimizer.slots = self._slots
    return stats['loss'], stats

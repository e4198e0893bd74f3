"""Work on the examples of a batch where they are, on several devices.

The compiler shares work among devices by the axes of arrays, and loses sight
of the examples where they are merged with heads and chunks: it would have
every device work on all of them.
"""

import jax
from jax.sharding import PartitionSpec

AXIS = 'batch'


def on_each_device(fn, examples, shared, axis=0):
  """Computes a function of each example by itself.

  Under jax.set_mesh with a mesh that has the axis 'batch', every device works
  on the examples it has, if they can be divided among the devices.

  Args:
    fn: (examples, shared) -> (results, sums): results are trees of arrays
      with the examples first, sums are trees of arrays to be added over all
      examples.
    examples: tree of arrays [batch, ...].
    shared: tree of arrays, the same for all examples.
    axis: int, where the examples are in place of the first axis, in examples
      and in results.

  Returns:
    What fn returns for all examples.
  """
  mesh = jax.sharding.get_abstract_mesh()
  n = mesh.shape.get(AXIS, 1)
  if n == 1 or jax.tree.leaves(examples)[0].shape[axis] % n:
    return fn(examples, shared)

  def part(examples, shared):
    results, sums = fn(examples, shared)
    return results, jax.lax.psum(sums, AXIS)

  each, same = PartitionSpec(*[None] * axis, AXIS), PartitionSpec()
  return jax.shard_map(
    part,
    mesh=mesh,
    in_specs=(each, same),
    out_specs=(each, same),
    check_vma=False,
  )(examples, shared)

"""Attention by groups of heads, one group after another.

Each head's output, projected back, is a term of a sum. So where a sequence is
long, its queries, keys and values need to exist for a few heads at a time.
"""

import jax
import jax.numpy as jnp
import numpy as np

from trax_reformer_ext.ops.loops import divisor, zeros_after

# Queries of the heads that are computed together take at most this many bytes.
_PARALLEL_BYTES = 2**27


def n_groups_of(n_heads, n_parallel_heads, bytes_each):
  """How many equal groups the heads are computed in.

  Args:
    n_heads: int.
    n_parallel_heads: int, the most heads in a group; None chooses by memory.
    bytes_each: int, bytes of the queries of one head.

  Returns:
    int, a divisor of n_heads.
  """
  most = n_parallel_heads or max(1, _PARALLEL_BYTES // bytes_each)
  return n_heads // divisor(n_heads, most)


def run_groups(run, n_groups, inputs, weights, constants, saved):
  """Runs attention with all heads.

  Args:
    run: (inputs, weights, constants, saved) -> (out, saved) for some heads.
    n_groups: int.
    inputs: tuple of arrays, the same for all heads; the first is float
      [batch, length, d_model].
    weights: tuple of arrays [n_heads, ...].
    constants: tree of arrays [n_heads, ...].
    saved: array [batch, n_heads, ...] that an earlier run saved, () or None.

  Returns:
    (out [batch, length, d_model], saved).
  """
  if n_groups == 1:
    return run(inputs, weights, constants, saved)

  def step(total, group):
    out, saved = run(inputs, *group)
    return total + out.astype(total.dtype), saved

  groups = _split(n_groups, weights, constants, saved)
  total, saved = jax.lax.scan(step, _zeros_like(inputs[0]), groups)
  return total.astype(inputs[0].dtype), _merge_saved(saved)


def run_groups_and_grad(
  run, n_groups, inputs, weights, constants, saved, d_out
):
  """Runs attention with all heads, and backwards group by group.

  Args:
    run: as of run_groups.
    n_groups: int.
    inputs: as of run_groups.
    weights: as of run_groups.
    constants: as of run_groups.
    saved: as of run_groups.
    d_out: float [batch, length, d_model], gradient of the output.

  Returns:
    (out, gradients of the inputs as a tuple with None for those that are no
    floats, gradients of the weights).
  """

  def run_and_grad(weights, constants, saved, total=None):
    run_on = lambda inputs, weights: run(inputs, weights, constants, saved)[0]
    out, vjp = jax.vjp(run_on, inputs, weights)
    d = d_out.astype(out.dtype)
    if total is not None:
      # The output of these heads is gone before their gradients come.
      out, d = jax.lax.optimization_barrier((add(total, out), d))
    d_inputs, d_weights = vjp(d)
    return out, _without_float0(d_inputs), d_weights

  add = lambda total, x: total + x.astype(total.dtype)
  if n_groups == 1:
    return run_and_grad(weights, constants, saved)

  def step(totals, group):
    total, d_totals = totals
    total, d_inputs, d_weights = run_and_grad(*group, total)
    return (total, jax.tree.map(add, d_totals, d_inputs)), d_weights

  floats = tuple(
    x if jnp.issubdtype(x.dtype, jnp.inexact) else None for x in inputs
  )
  totals = jax.tree.map(_zeros_like, (inputs[0], floats))
  groups = _split(n_groups, weights, constants, saved)
  (out, d_inputs), d_weights = jax.lax.scan(step, totals, groups)
  d_inputs = jax.tree.map(lambda d, x: d.astype(x.dtype), d_inputs, floats)
  merge = lambda d, w: d.reshape(w.shape)
  d_weights = jax.tree.map(merge, d_weights, weights)
  return out.astype(inputs[0].dtype), d_inputs, d_weights


def with_float0(d_inputs, inputs):
  """Gradients as jax.vjp takes and gives them, from those with None.

  Args:
    d_inputs: tuple of arrays, None for inputs that are no floats.
    inputs: tuple of arrays.
  """
  return tuple(
    np.zeros(x.shape, jax.dtypes.float0) if d is None else d
    for d, x in zip(d_inputs, inputs, strict=True)
  )


def _without_float0(d_inputs):
  return tuple(None if d.dtype == jax.dtypes.float0 else d for d in d_inputs)


def _zeros_like(x):
  """Zeros that sums of heads are added to: float32."""
  return zeros_after(x, jax.ShapeDtypeStruct(x.shape, jnp.float32))


def _split(n_groups, weights, constants, saved):
  split = lambda x: x.reshape((n_groups, -1) + x.shape[1:])
  by_head = jax.tree.map(split, (weights, constants))
  # [batch, n_heads, ...] -> [n_groups, batch, heads of a group, ...]
  split_saved = lambda x: jnp.moveaxis(
    x.reshape((x.shape[0], n_groups, -1) + x.shape[2:]), 1, 0
  )
  return (*by_head, jax.tree.map(split_saved, saved))


def _merge_saved(saved):
  merge = lambda x: jnp.moveaxis(x, 0, 1).reshape(
    (x.shape[1], -1) + x.shape[3:]
  )
  return jax.tree.map(merge, saved)

"""Loops whose results take their memory when they run, not before.

The arrays that lax.map and lax.scan stack their results in start as constants,
and XLA's CPU back end allots those at the start of the whole program: the
results of every loop of every layer would be alive together. The loops here
start from data instead.
"""

import jax
import jax.numpy as jnp


def divisor(n, most):
  """The largest divisor of n up to most, an int; 0 if most is 0."""
  return next((d for d in range(min(n, most), 0, -1) if n % d == 0), 0)


def map_onto(fn, onto, *arrays):
  """lax.map that writes its results over given arrays.

  Args:
    fn: function of one slice of each array that returns results of the shapes
      of one slice of each of onto.
    onto: tree of arrays [n, ...]; only shapes and dtypes matter, as every
      slice is written over.
    *arrays: trees of arrays [n, ...].

  Returns:
    A tree like onto, with the results of fn.
  """
  run = lambda carry, *slices: (carry, fn(*slices))
  return scan_onto(run, (), onto, *arrays)[1]


def scan_onto(fn, carry, onto, *arrays):
  """lax.scan that writes its stacked results over given arrays.

  Args:
    fn: function of the carry and one slice of each array that returns the
      carry and results of the shapes of one slice of each of onto.
    carry: tree of arrays.
    onto: tree of arrays [n, ...]; only shapes and dtypes matter.
    *arrays: trees of arrays [n, ...].

  Returns:
    (carry, tree like onto).
  """
  n = jax.tree.leaves(arrays)[0].shape[0]

  def body(i, state):
    carry, out = state
    at = lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False)
    carry, results = fn(carry, *jax.tree.map(at, arrays))
    put = lambda o, r: jax.lax.dynamic_update_index_in_dim(
      o, r.astype(o.dtype), i, 0
    )
    return carry, jax.tree.map(put, out, results)

  return jax.lax.fori_loop(0, n, body, (carry, onto))


def scan_slices(fn, size, carry, onto, *arrays):
  """As scan_onto, over slices of the second axis, where they stand.

  Args:
    fn: function of the carry and one slice [n, size, ...] of each array that
      returns the carry and results [n, size, ...].
    size: int, a divisor of length.
    carry: tree of arrays.
    onto: tree of arrays [n, length, ...]; only shapes and dtypes matter.
    *arrays: trees of arrays [n, length, ...].

  Returns:
    (carry, tree like onto).
  """
  length = jax.tree.leaves(arrays)[0].shape[1]

  def body(i, state):
    carry, out = state
    first = i * size
    at = lambda x: jax.lax.dynamic_slice_in_dim(x, first, size, axis=1)
    carry, results = fn(carry, *jax.tree.map(at, arrays))
    put = lambda o, r: jax.lax.dynamic_update_slice_in_dim(
      o, r.astype(o.dtype), first, axis=1
    )
    return carry, jax.tree.map(put, out, results)

  return jax.lax.fori_loop(0, length // size, body, (carry, onto))


def zeros_after(x, like):
  """Zeros of the shapes of a tree that do not exist before x does.

  Args:
    x: float array, not empty. (A NaN as its first value gives NaN.)
    like: tree of arrays.

  Returns:
    A tree of arrays of the shapes and dtypes of like.
  """
  zero = jnp.minimum(jnp.abs(x.reshape(-1)[0]), 0)
  return jax.tree.map(
    lambda y: jnp.broadcast_to(zero.astype(y.dtype), y.shape), like
  )

"""Sorting a sequence by hash bucket, one sort a round (section 2)."""

import jax
import jax.numpy as jnp


@jax.named_scope('sorting')
def sort_by_bucket(buckets, n_buckets):
  """Sorts positions by (bucket, position) on the last axis.

  Bucket and position are packed into one unsigned 32-bit key where they fit,
  which is several times faster on CPUs than sorting pairs; otherwise the
  pairs are sorted. Neither can overflow: a key is never formed when
  n_buckets * length exceeds 2^32.

  Args:
    buckets: int [..., length], in [0, n_buckets).
    n_buckets: int, a bound of the bucket numbers.

  Returns:
    (order, rank), both int32 [..., length]: order[r] is the position of the
    r-th token in the sorted sequence, rank its inverse, order[rank[i]] = i.
  """
  length = buckets.shape[-1]
  bits = max(1, (length - 1).bit_length())
  position = jax.lax.broadcasted_iota(
    jnp.uint32, buckets.shape, buckets.ndim - 1
  )
  if (n_buckets - 1).bit_length() + bits <= 32:
    keys = (buckets.astype(jnp.uint32) << bits) | position
    keys = jax.lax.sort(keys, is_stable=False)
    order = (keys & ((1 << bits) - 1)).astype(jnp.int32)
  else:
    _, order = jax.lax.sort(
      (buckets.astype(jnp.int32), position.astype(jnp.int32)), num_keys=2
    )
  return order, invert_permutation(order)


def invert_permutation(order):
  """Inverts permutations on the last axis.

  Args:
    order: int32 [..., length], each row a permutation of range(length).

  Returns:
    int32 [..., length].
  """
  length = order.shape[-1]
  rows = order.reshape(-1, length)
  n_rows = rows.shape[0]
  ranks = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32), rows.shape)
  row = jnp.arange(n_rows, dtype=jnp.int32)[:, None]
  inverse = jnp.zeros_like(rows).at[row, rows].set(ranks, unique_indices=True)
  return inverse.reshape(order.shape)


def bucket_ends(buckets, order, rank):
  """Where each token's bucket lies in the sorted sequence.

  Args:
    buckets: int [..., length].
    order: int32 [..., length], as of sort_by_bucket.
    rank: int32 [..., length], as of sort_by_bucket.

  Returns:
    (first, last), int32 [..., length] by position: the rank of the first token
    of the bucket, and one past that of its last.
  """
  length = order.shape[-1]
  in_order = jnp.take_along_axis(buckets.astype(jnp.int32), order, axis=-1)
  edge = in_order[..., 1:] != in_order[..., :-1]
  ends = jnp.ones(edge.shape[:-1] + (1,), bool)
  ranks = jnp.arange(length, dtype=jnp.int32)
  axis = order.ndim - 1
  first = jnp.where(jnp.concatenate([ends, edge], -1), ranks, 0)
  first = jax.lax.cummax(first, axis=axis)
  last = jnp.where(jnp.concatenate([edge, ends], -1), ranks + 1, length)
  last = jax.lax.cummin(last, axis=axis, reverse=True)
  by_position = lambda x: jnp.take_along_axis(x, rank, axis=-1)
  return by_position(first), by_position(last)

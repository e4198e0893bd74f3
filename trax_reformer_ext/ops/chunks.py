"""Sequences cut into chunks that look at their neighbours."""

import jax.numpy as jnp


def pad_to_multiple(x, multiple, axis, value=0):
  """Pads the end of one axis with a value up to a multiple of a length."""
  missing = -x.shape[axis] % multiple
  if not missing:
    return x
  widths = [(0, 0)] * x.ndim
  widths[axis] = (0, missing)
  return jnp.pad(x, widths, constant_values=value)


def look_adjacent(x, n_before, n_after, ring, fill=0):
  """Puts the neighbouring chunks beside every chunk.

  Args:
    x: [rings, n_chunks, chunk_len, ...].
    n_before: int, chunks before.
    n_after: int, chunks after.
    ring: bool, the first chunk follows the last one; otherwise what lies
      outside is filled.
    fill: scalar, the value outside.

  Returns:
    [rings, n_chunks, (n_before + 1 + n_after) * chunk_len, ...].
  """
  if not n_before and not n_after:
    return x
  shifted = [_shift(x, i, ring, fill) for i in range(-n_before, n_after + 1)]
  return jnp.concatenate(shifted, axis=2)


def add_adjacent(x, n_before, n_after, ring):
  """Transpose of look_adjacent: adds each copy of a chunk to the chunk.

  Args:
    x: [rings, n_chunks, (n_before + 1 + n_after) * chunk_len, ...].
    n_before: int, chunks before.
    n_after: int, chunks after.
    ring: bool, as for look_adjacent.

  Returns:
    [rings, n_chunks, chunk_len, ...].
  """
  if not n_before and not n_after:
    return x
  parts = jnp.split(x, 1 + n_before + n_after, axis=2)
  offsets = range(-n_before, n_after + 1)
  return sum(
    _shift(part, -i, ring, 0) for i, part in zip(offsets, parts, strict=True)
  )


def _shift(x, offset, ring, fill):
  """y[:, c] = x[:, c + offset], around the ring or filled outside."""
  n_chunks = x.shape[1]
  if not offset:
    return x
  if ring:
    offset %= n_chunks
    return jnp.concatenate([x[:, offset:], x[:, :offset]], axis=1)
  inside = max(0, n_chunks - abs(offset))
  outside = jnp.full_like(x[:, inside:], fill)
  if offset > 0:
    return jnp.concatenate([x[:, n_chunks - inside :], outside], axis=1)
  return jnp.concatenate([outside, x[:, :inside]], axis=1)

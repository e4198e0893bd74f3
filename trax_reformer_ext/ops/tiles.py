"""What a kernel computes for a pair of tiles, whatever runs it.

A tile is a number of consecutive tokens of a sorted round. The functions here
take the tiles' arrays, in registers or in memory, and know no backend.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from trax_reformer_ext.ops.look import allowed_pairs, is_within


class Tile(NamedTuple):
  """Where the tokens of a tile are.

  Attributes:
    position: int32 [tile_len], positions in the sequence.
    key_position: int32 [tile_len], the same or MASKED.
    place: int32 [tile_len], ranks in the round of the tile.
    of_round: function of a name in Orders and an int32 scalar r that returns
      int32 [tile_len]: rank, low or size of the tokens in round r.
  """

  position: jax.Array
  key_position: jax.Array
  place: jax.Array
  of_round: Callable


class Softmax(NamedTuple):
  """A softmax over keys that come tile by tile (online softmax).

  Attributes:
    top: float32 [tile_len], the highest score so far; finite.
    total: float32 [tile_len], the sum of exp(score - top).
    sums: float32 [tile_len, d_v], the values weighted by exp(score - top).
  """

  top: jax.Array
  total: jax.Array
  sums: jax.Array


def allowed_between(look, n_rounds, own, query, key, keys_first=False):
  """Which pairs of two tiles count, in the round that holds both.

  Args:
    look: Look, not dense.
    n_rounds: int.
    own: int32 scalar, the round of the query tile.
    query: Tile.
    key: Tile, in reach of query.
    keys_first: bool, the axes are (key, query), not (query, key).

  Returns:
    bool [tile_len, tile_len].
  """
  of_query = lambda x: jnp.expand_dims(x, 0 if keys_first else 1)
  of_key = lambda x: jnp.expand_dims(x, 1 if keys_first else 0)
  allowed = allowed_pairs(
    look, of_query(query.position), of_key(key.key_position)
  )
  if not look.intervals:
    return allowed

  def admitted(rank, r):
    low, size = query.of_round('low', r), query.of_round('size', r)
    return is_within(of_key(rank), of_query(low), of_query(size))

  allowed &= admitted(key.place, own)
  if not look.count_once:
    return allowed
  # An earlier round that admits a pair has counted it already. All rounds are
  # looked at, so that their loads are in flight together.
  for r in range(n_rounds - 1):
    allowed &= ~(admitted(key.of_round('rank', r), r) & (r < own))
  return allowed


def start_softmax(tile_len, d_v):
  """A softmax over no keys."""
  zeros = lambda *shape: jnp.zeros(shape, jnp.float32)
  # A finite floor, so that a row without any key gives exp(-inf) = 0.
  floor = jnp.full((tile_len,), -1e30, jnp.float32)
  return Softmax(floor, zeros(tile_len), zeros(tile_len, d_v))


def add_keys(softmax, scores, values, multiplier=None):
  """Adds a tile of keys to a softmax.

  Args:
    softmax: Softmax.
    scores: float32 [tile_len, keys], -inf where a pair is not allowed.
    values: float [keys, d_v].
    multiplier: None, or float32 like scores, dropout of the weights.

  Returns:
    Softmax.
  """
  top = jnp.maximum(softmax.top, jnp.max(scores, axis=1))
  factor = jnp.exp(softmax.top - top)
  weights = jnp.exp(scores - top[:, None])
  total = softmax.total * factor + jnp.sum(weights, axis=1)
  if multiplier is not None:
    weights = weights * multiplier
  sums = softmax.sums * factor[:, None]
  sums += dot(weights.astype(values.dtype), values)
  return Softmax(top, total, sums)


def finish_softmax(softmax):
  """(weighted mean of the values, log of the sum of exp(score)).

  Zero and -inf in rows without any key.
  """
  top, total, sums = softmax
  seen = total != 0
  some = jnp.where(seen, total, 1.0)
  mean = jnp.where(seen[:, None], sums / some[:, None], 0.0)
  return mean, jnp.where(seen, top + jnp.log(some), -jnp.inf)


def gradients_of_scores(scores, log_norm, d_weights, inner, multiplier):
  """Weights of a tile, as used, and gradients of its scores.

  All arrays have two axes or broadcast to them.

  Args:
    scores: float32, -inf where a pair is not allowed.
    log_norm: float32, the query's log of the sum of exp(score), inf where it
      saw nothing.
    d_weights: float32, gradients of the weights as used.
    inner: float32, the query's output times the output's gradient, summed.
    multiplier: None, or float32, dropout of the weights.

  Returns:
    (weights, gradients of the scores), float32.
  """
  weights = used = jnp.exp(scores - log_norm)
  if multiplier is not None:
    d_weights = d_weights * multiplier
    used = weights * multiplier
  return used, weights * (d_weights - inner)


def dot(x, y):
  """x @ y, accumulated in float32."""
  return _product(x, y, 0)


def dot_transposed(x, y):
  """x @ y.T, accumulated in float32."""
  return _product(x, y, 1)


def _product(x, y, axis_of_y):
  dimensions = (((1,), (axis_of_y,)), ((), ()))
  return jax.lax.dot_general(
    x, y, dimensions, preferred_element_type=jnp.float32
  )

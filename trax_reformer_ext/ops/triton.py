"""The kernels of chunked attention, by Pallas with its Triton backend.

One program computes a tile of queries (forward), or a tile of tokens as
queries and as keys (backward). It reads the tokens through the order of their
round and writes results to their positions, a slice a round, so that nothing
is sorted in memory and nothing is added up by atomics.

This is the only file that knows what runs the kernels: what they compute is in
ops/tiles.py.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as pallas_triton

from trax_reformer_ext.ops import tiles
from trax_reformer_ext.ops.keys import normalised_keys_bwd

# Triton's products have at least 16 rows; more than 64 at a time spill.
_MIN_TILE_LEN = 16
_MAX_TILE_LEN = 64
# Offsets into arrays are int32.
MAX_ELEMENTS = 2**31 - 1


class Options(NamedTuple):
  """How a kernel is compiled.

  Attributes:
    num_warps: int, warps of 32 threads in a program.
    num_stages: int, loads in flight in a loop over tiles.
    unroll: int, loops over at most this many tiles are unrolled.
  """

  num_warps: int = 4
  num_stages: int = 1
  unroll: int = 2


FORWARD = Options()
BACKWARD = Options(num_warps=8)


def why_unsupported(look, arrays):
  """Why the compiled kernels cannot compute a case, or None.

  Args:
    look: Look.
    arrays: dict from names to arrays of the kernels.
  """
  tile_len = _tile_len(look.chunk_len)
  if tile_len < _MIN_TILE_LEN:
    return (
      f'chunk_len is {look.chunk_len}: a multiple of {_MIN_TILE_LEN} is needed'
    )
  for name in 'q', 'v':
    depth = arrays[name].shape[-1]
    if depth < 16 or depth > 256 or depth & (depth - 1):
      return f'd_{name}k'.replace('vk', 'v') + (
        f' is {depth}: a power of 2 from 16 to 256 is needed'
      )
  return None


def forward(look, arrays, n_rounds, *, interpret=False, options=FORWARD):
  """Attention of every round by itself.

  Args:
    look: Look, not dense.
    arrays: dict of q [n, length, d_qk], k likewise (without look.shared_qk) or
      inverse, float32 [n, length], 1 / |q| (with it), v [n, length, d_v],
      key_position, int32 [n, length]; order, int32 [n, rounds, length], where
      the rounds are sorted, and rank, low and size likewise with
      look.intervals; multiplier, float32 [chunk_len, width], for dropout.
    n_rounds: int.
    interpret: bool, computes by JAX's operations in place of a kernel.
    options: Options.

  Returns:
    (out [n, rounds, length, d_v] of v's dtype, log-normalisers [n, rounds,
    length], float32), by position: zero and -inf where nothing is seen.
  """
  n, length, d_v = arrays['v'].shape
  outs = dict(
    out=jax.ShapeDtypeStruct((n, n_rounds, length, d_v), arrays['v'].dtype),
    norm=jax.ShapeDtypeStruct((n, n_rounds, length), jnp.float32),
  )
  return _call(
    _forward_program, look, arrays, outs, n_rounds, interpret, options
  )


def backward(
  look, arrays, n_rounds, *, interpret=False, options=BACKWARD, mode='two'
):
  """Gradients that every round contributes.

  Args:
    look: Look, not dense.
    arrays: as forward's, and of all rounds together d_out [n, length, d_v],
      log_norm, float32 [n, length], inf where nothing was seen, and inner,
      float32 [n, length], out times d_out, summed.
    n_rounds: int.
    interpret: bool.
    options: Options.

  Returns:
    Gradients [n, rounds, length, depth] of q, k (without look.shared_qk) and
    v, of their dtypes, by position. With look.shared_qk that of q is of both
    roles.
  """
  n = arrays['q'].shape[0]
  of = lambda name: jax.ShapeDtypeStruct(
    (n, n_rounds) + arrays[name].shape[1:], arrays[name].dtype
  )
  call = functools.partial(
    _call,
    look=look,
    n_rounds=n_rounds,
    interpret=interpret,
    options=options,
  )
  dq, dv = of('q'), of('v')
  if mode == 'one':
    outs = dict(d_q=dq, d_v=dv) if look.shared_qk else dict(d_q=dq, d_k=dq, d_v=dv)
    return call(_both_program, arrays=arrays, outs=outs)
  (dq,) = call(_queries_program, arrays=arrays, outs=dict(d_q=dq))
  if not look.shared_qk:
    return dq, *call(
      _keys_program, arrays=arrays, outs=dict(d_k=of('k'), d_v=dv)
    )
  arrays = dict(arrays, as_queries=dq)
  return call(
    _keys_program,
    arrays=arrays,
    outs=dict(d_q=of('q'), d_v=dv),
    aliases={len(arrays) - 1: 0},
  )


def _call(
  program, look, arrays, outs, n_rounds, interpret, options, aliases=None
):
  n, length, _ = arrays['q'].shape
  grid = _Grid(look, n_rounds, length, options.unroll)
  names = tuple(arrays), tuple(outs)

  def kernel(*refs):
    program(grid, dict(zip(names[0] + names[1], refs, strict=True)))

  whole = pl.BlockSpec(memory_space=pl.ANY)
  return pl.pallas_call(
    kernel,
    # Tiles on the axis that runs fastest: those that run together share the
    # sequences of a few heads in the cache.
    grid=(grid.n_tiles, n),
    in_specs=[whole] * len(arrays),
    out_specs=[whole] * len(outs),
    out_shape=list(outs.values()),
    interpret=interpret,
    input_output_aliases=aliases or {},
    compiler_params=None
    if interpret
    else pallas_triton.CompilerParams(
      num_warps=options.num_warps, num_stages=options.num_stages
    ),
    name='chunked_attention' + program.__name__.removesuffix('_program'),
  )(*arrays.values())


def _tile_len(chunk_len):
  """The largest power of 2 that divides chunks, up to a bound."""
  return math.gcd(chunk_len, _MAX_TILE_LEN)


class _Grid:
  """The tiles of all rounds, laid end to end."""

  def __init__(self, look, n_rounds, length, unroll):
    self.look = look
    self.tile_len = _tile_len(look.chunk_len)
    self.per_chunk = look.chunk_len // self.tile_len
    self.per_round = length // self.tile_len
    self.n_tiles = n_rounds * self.per_round
    self._unroll = unroll

  def over_window(self, own, n_before, n_after, body, carry):
    """Loops over the tiles of the chunks around a tile.

    Args:
      own: _Tokens of the tile.
      n_before: int, chunks before.
      n_after: int, chunks after.
      body: function of (i, _Tokens, carry) that returns carry; i counts the
        tiles of the window from its first chunk on, whether or not it exists.
      carry: tree of arrays.

    Returns:
      carry.
    """
    tile = own.tile
    n = (n_before + 1 + n_after) * self.per_chunk
    first = tile - tile % self.per_chunk - n_before * self.per_chunk
    if self.look.ring:
      # Not negative, as the remainder of a negative number would be.
      first += -(-n_before * self.per_chunk // self.n_tiles) * self.n_tiles
      n_tiles = jnp.int32(self.n_tiles)
      step = lambda i, c: body(i, own.of(jax.lax.rem(first + i, n_tiles)), c)
      if n <= self._unroll:
        for i in range(n):
          carry = step(jnp.int32(i), carry)
        return carry
      low, high = jnp.int32(0), jnp.int32(n)
    else:
      start = tile - tile % self.per_round
      step = lambda i, c: body(i, own.of(first + i), c)
      low = jnp.maximum(start - first, 0)
      high = jnp.minimum(start + self.per_round - first, n)
    return jax.lax.fori_loop(low, high, step, carry)


class _Tokens:
  """Reads the tokens of a tile."""

  def __init__(self, grid, refs, sequence, tile):
    self._grid, self._refs, self._sequence = grid, refs, sequence
    self.tile = tile
    rows = tile * grid.tile_len + jnp.arange(grid.tile_len, dtype=jnp.int32)
    self.round = tile // grid.per_round
    self.place = rows - self.round * grid.per_round * grid.tile_len
    self.position = rows
    if 'order' in refs:
      first = (tile % grid.per_round) * grid.tile_len
      self.position = refs['order'][
        sequence, self.round, pl.ds(first, grid.tile_len)
      ]

  def of(self, tile):
    """Another tile of the same sequence."""
    return _Tokens(self._grid, self._refs, self._sequence, tile)

  def rows(self, name):
    """float [tile_len, depth]."""
    return self._refs[name][self._sequence, self.position, :]

  def each(self, name):
    """[tile_len] of an array [n, length]."""
    return self._refs[name][self._sequence, self.position]

  def where(self):
    """Tile."""
    of_round = lambda name, r: self._refs[name][
      self._sequence, r, self.position
    ]
    key_position = self.each('key_position')
    return tiles.Tile(self.position, key_position, self.place, of_round)

  def written(self, name):
    """What write(name, x) wrote."""
    return self._refs[name][self._sequence, self.round, self.position, :]

  def write(self, name, x):
    """Writes [tile_len, ...] to the positions, in the slice of the round."""
    ref = self._refs[name]
    at = (self._sequence, self.round, self.position)
    at += (slice(None),) * (x.ndim - 1)
    ref[at] = x.astype(ref.dtype)


def _scores(look, own, query, key, of_query, of_key, keys_first=False):
  """Scores of a pair of tiles, -inf where the pair is not allowed.

  Args:
    look: Look.
    own: int32 scalar, the round of the query tile.
    query: _Tokens.
    key: _Tokens.
    of_query: float [tile_len, d_qk], its queries.
    of_key: (float [tile_len, d_qk], float32 [tile_len] or None): its keys, and
      what multiplies them.
    keys_first: bool, the axes are (key, query), not (query, key).

  Returns:
    float32 [tile_len, tile_len].
  """
  keys, inverse = of_key
  pair = (keys, of_query) if keys_first else (of_query, keys)
  scores = tiles.dot_transposed(*pair)
  if inverse is not None:
    scores = scores * jnp.expand_dims(inverse, 1 if keys_first else 0)
  allowed = tiles.allowed_between(
    look, own, query.where(), key.where(), keys_first
  )
  return jnp.where(allowed, scores, -jnp.inf)


def _keys(look, tokens):
  """(keys or queries, what multiplies them to give keys or None)."""
  if look.shared_qk:
    return tokens.rows('q'), tokens.each('inverse')
  return tokens.rows('k'), None


def _multiplier(grid, refs, tile, i):
  """Dropout of a query tile and the i-th tile of its window, or None."""
  if 'multiplier' not in refs:
    return None
  first = lambda x: pl.ds(x * grid.tile_len, grid.tile_len)
  return refs['multiplier'][first(tile % grid.per_chunk), first(i)]


def _forward_program(grid, refs):
  look = grid.look
  query = _own(grid, refs)
  q = query.rows('q')

  def add(i, key, softmax):
    scores = _scores(look, query.round, query, key, q, _keys(look, key))
    multiplier = _multiplier(grid, refs, query.tile, i)
    return tiles.add_keys(softmax, scores, key.rows('v'), multiplier)

  softmax = tiles.start_softmax(grid.tile_len, refs['v'].shape[-1])
  softmax = grid.over_window(
    query, look.n_chunks_before, look.n_chunks_after, add, softmax
  )
  out, norm = tiles.finish_softmax(softmax)
  query.write('out', out)
  query.write('norm', norm)


def _queries_program(grid, refs):
  own = _own(grid, refs)
  own.write('d_q', _as_queries(grid, refs, own))


def _keys_program(grid, refs):
  own = _own(grid, refs)
  dk, dv = _as_keys(grid, refs, own)
  own.write('d_v', dv)
  if grid.look.shared_qk:
    own.write('d_q', own.written('as_queries').astype(jnp.float32) + dk)
  else:
    own.write('d_k', dk)


def _both_program(grid, refs):
  own = _own(grid, refs)
  dq = _as_queries(grid, refs, own)
  dk, dv = _as_keys(grid, refs, own)
  own.write('d_v', dv)
  if grid.look.shared_qk:
    own.write('d_q', dq + dk)
  else:
    own.write('d_q', dq)
    own.write('d_k', dk)


def _own(grid, refs):
  return _Tokens(grid, refs, pl.program_id(1), pl.program_id(0))


def _as_queries(grid, refs, own):
  """Gradient of a tile as queries, of the keys that they see.

  Returns:
    float32 [tile_len, d_qk].
  """
  look = grid.look
  q, d_out = own.rows('q'), own.rows('d_out')
  norm, inner = own.each('log_norm')[:, None], own.each('inner')[:, None]

  def add(i, key, dq):
    keys, inverse = _keys(look, key)
    scores = _scores(look, own.round, own, key, q, (keys, inverse))
    d_weights = tiles.dot_transposed(d_out, key.rows('v'))
    multiplier = _multiplier(grid, refs, own.tile, i)
    _, d_scores = tiles.gradients_of_scores(
      scores, norm, d_weights, inner, multiplier
    )
    if inverse is not None:
      d_scores = d_scores * inverse[None]
    return dq + tiles.dot(d_scores.astype(keys.dtype), keys)

  dq = jnp.zeros(q.shape, jnp.float32)
  before, after = look.n_chunks_before, look.n_chunks_after
  return grid.over_window(own, before, after, add, dq)


def _as_keys(grid, refs, own):
  """Gradients of a tile as keys and values, of the queries that see them.

  Returns:
    (of the keys, or with look.shared_qk of the queries that they are made of,
    float32 [tile_len, d_qk]; of the values, float32 [tile_len, d_v]).
  """
  look = grid.look
  before, after = look.n_chunks_before, look.n_chunks_after
  keys, inverse = _keys(look, own)
  v = own.rows('v')

  def add(i, query, sums):
    queries, d_out = query.rows('q'), query.rows('d_out')
    scores = _scores(
      look, query.round, query, own, queries, (keys, inverse), True
    )
    d_weights = tiles.dot_transposed(v, d_out)
    norm, inner = query.each('log_norm')[None], query.each('inner')[None]
    chunk = before + after - i // grid.per_chunk
    multiplier = _multiplier(
      grid, refs, i, chunk * grid.per_chunk + own.tile % grid.per_chunk
    )
    multiplier = None if multiplier is None else multiplier.T
    weights, d_scores = tiles.gradients_of_scores(
      scores, norm, d_weights, inner, multiplier
    )
    dk, dv = sums
    dk += tiles.dot(d_scores.astype(queries.dtype), queries)
    return dk, dv + tiles.dot(weights.astype(d_out.dtype), d_out)

  sums = jnp.zeros(keys.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32)
  # A key is seen from the chunks after its own by looks at chunks before.
  dk, dv = grid.over_window(own, after, before, add, sums)
  if look.shared_qk:
    x = keys.astype(jnp.float32)
    dk = normalised_keys_bwd(x, inverse[:, None], dk)
  return dk, dv

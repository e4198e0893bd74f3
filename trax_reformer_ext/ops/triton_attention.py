"""The kernels of chunked attention, by Pallas with its Triton backend.

One program computes a tile of queries (forward), or a tile of tokens as
queries and as keys (backward). It reads the tokens through the order of their
round and writes results to their positions, a slice a round, so that nothing
is sorted in memory and nothing is added up by atomics.

What a program computes for a pair of tiles is in ops/tiles.py, which knows
nothing of Pallas.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from trax_reformer_ext.ops import tiles, triton
from trax_reformer_ext.ops.keys import normalised_keys_bwd

# Triton's products have at least 16 rows.
_MIN_TILE_LEN = 16


class Options(NamedTuple):
  """How a kernel is compiled.

  The defaults were the fastest of those measured on an H100 in bfloat16 at 64
  features a head, for chunks of 64 and 128 in every mode.

  Attributes:
    own_len: int, the most tokens in the tile of a program.
    other_len: int, the most tokens in a tile that it looks at.
    num_warps: int, warps of 32 threads in a program.
    num_stages: int, loads in flight in a loop over tiles.
  """

  own_len: int = 64
  other_len: int = 64
  num_warps: int = 4
  num_stages: int = 2


def why_unsupported(chunk_len, d_qk, d_v):
  """Why the compiled kernels cannot compute chunks, or None.

  Args:
    chunk_len: int.
    d_qk: int.
    d_v: int.
  """
  if chunk_len % _MIN_TILE_LEN:
    return f'chunk_len is {chunk_len}: a multiple of {_MIN_TILE_LEN} is needed'
  for name, depth in (('d_qk', d_qk), ('d_v', d_v)):
    if not triton.is_depth(depth, 128):
      return f'{name} is {depth}: a power of 2 from 16 to 128 is needed'
  return None


def forward(
  look, arrays, n_rounds, *, first=0, n=None, interpret=False, options=None
):
  """Attention of every round by itself.

  Args:
    look: Look, not dense.
    arrays: dict of q [n, length, d_qk], k likewise (without look.shared_qk) or
      inverse, float32 [n, length], 1 / |q| (with it), v [n, length, d_v],
      key_position, int32 [n, length]; order, int32 [n, rounds, length], where
      the rounds are sorted; rank, low and size, int32 [n, length, rounds], with
      look.intervals; multiplier, float32 [chunk_len, width], for dropout.
    n_rounds: int.
    first: int, the first sequence that is computed; the same kernel computes
      any.
    n: int, how many are; None for all.
    interpret: bool, computes by JAX's operations in place of a kernel.
    options: Options, or None for those that suit the dtype.

  Returns:
    (out [n, rounds, length, d_v] of v's dtype, log-normalisers [n, rounds,
    length], float32), by position: zero and -inf where nothing is seen.
  """
  n = n or len(arrays['v'])
  length, d_v = arrays['v'].shape[1:]
  outs = dict(
    out=jax.ShapeDtypeStruct((n, n_rounds, length, d_v), arrays['v'].dtype),
    norm=jax.ShapeDtypeStruct((n, n_rounds, length), jnp.float32),
  )
  return _call(
    _forward_program, look, arrays, outs, n_rounds, first, interpret, options
  )


def backward(
  look, arrays, n_rounds, *, first=0, n=None, interpret=False, options=None
):
  """Gradients that every round contributes.

  Args:
    look: Look, not dense.
    arrays: as forward's, and of all rounds together d_out [n, length, d_v],
      log_norm, float32 [n, length], inf where nothing was seen, and inner,
      float32 [n, length], out times d_out, summed.
    n_rounds: int.
    first: int, as forward's.
    n: int, as forward's.
    interpret: bool.
    options: Options, or None for those that suit the dtype.

  Returns:
    Gradients [n, rounds, length, depth] of q, k (without look.shared_qk) and
    v, of their dtypes, by position. With look.shared_qk that of q is of both
    roles.
  """
  names = ('q', 'v') if look.shared_qk else ('q', 'k', 'v')
  outs = {
    'd_' + name: jax.ShapeDtypeStruct(
      (n or len(arrays['q']), n_rounds) + arrays[name].shape[1:],
      arrays[name].dtype,
    )
    for name in names
  }
  return _call(
    _backward_program, look, arrays, outs, n_rounds, first, interpret, options
  )


def _call(program, look, arrays, outs, n_rounds, first, interpret, options):
  length = arrays['q'].shape[1]
  n = next(iter(outs.values())).shape[0]
  options = options or _options(arrays['q'].dtype)
  grid = _Grid(look, n_rounds, length, options)
  arrays = dict(arrays, first=jnp.full((1,), first, jnp.int32))
  names = tuple(arrays), tuple(outs)

  def kernel(*refs):
    program(grid, dict(zip(names[0] + names[1], refs, strict=True)))

  return triton.call(
    kernel,
    'chunked_attention' + program.__name__.removesuffix('_program'),
    # Tiles on the axis that runs fastest: those that run together share the
    # sequences of a few heads in the cache.
    (grid.n_rows // grid.own_len, n),
    list(arrays.values()),
    list(outs.values()),
    num_warps=options.num_warps,
    num_stages=options.num_stages,
    interpret=interpret,
  )


def _options(dtype):
  # In float32 larger tiles do not fit the registers.
  return Options() if dtype == jnp.bfloat16 else Options(other_len=32)


def _tile_len(chunk_len, most):
  """The largest power of 2 that divides chunks, up to a bound, a power of 2."""
  return math.gcd(chunk_len, most)


class _Grid:
  """Sorted rows of all rounds, laid end to end, a tile a program."""

  def __init__(self, look, n_rounds, length, options):
    self.look = look
    self.own_len = _tile_len(look.chunk_len, options.own_len)
    self.other_len = _tile_len(look.chunk_len, options.other_len)
    self.n_rounds, self.round_len = n_rounds, length
    self.n_rows = n_rounds * length

  def own(self, refs):
    """_Tokens of the program's tile."""
    tile, sequence = pl.program_id(0), pl.program_id(1)
    return _Tokens(self, refs, sequence, tile * self.own_len, self.own_len)

  def over_window(self, own, n_before, n_after, body, carry):
    """Loops over tiles of the chunks around a tile.

    Args:
      own: _Tokens of the tile.
      n_before: int, chunks before.
      n_after: int, chunks after.
      body: function of (row, _Tokens, carry) that returns carry; row is where
        the other tile begins, counted from the start of the window, whether or
        not that exists.
      carry: tree of arrays.

    Returns:
      carry.
    """
    chunk_len = self.look.chunk_len
    n = (n_before + 1 + n_after) * chunk_len
    start = own.start - _rem(own.start, chunk_len) - n_before * chunk_len
    low, high = jnp.int32(0), jnp.int32(n // self.other_len)
    if self.look.ring:
      # Not negative, as the remainder of a negative number would be.
      start += -(-n_before * chunk_len // self.n_rows) * self.n_rows
      wrapped = lambda row: _rem(row, self.n_rows)
    else:
      first = own.round * self.round_len
      low = jnp.maximum(low, (first - start) // self.other_len)
      end = (first + self.round_len - start) // self.other_len
      high = jnp.minimum(high, end)
      wrapped = lambda row: row

    def step(i, carry):
      row = i * self.other_len
      return body(row, own.other(wrapped(start + row)), carry)

    return jax.lax.fori_loop(low, high, step, carry)


def _div(x, n):
  """x // n, for x that is not negative."""
  return jax.lax.div(x, jnp.int32(n))


def _rem(x, n):
  """x % n, for x that is not negative."""
  return jax.lax.rem(x, jnp.int32(n))


class _Tokens:
  """Reads and writes the tokens of a tile."""

  def __init__(self, grid, refs, sequence, start, n):
    self._grid, self._refs, self._result = grid, refs, sequence
    self._sequence = sequence = refs['first'][0] + sequence
    self.start = start
    self.round = _div(start, grid.round_len)
    first = start - self.round * grid.round_len
    self.place = first + jnp.arange(n, dtype=jnp.int32)
    self.position = self.place
    if 'order' in refs:
      order = refs['order']
      self.position = order[sequence, self.round, pl.ds(first, n)]

  def other(self, start):
    """A tile that this one looks at."""
    n = self._grid.other_len
    return _Tokens(self._grid, self._refs, self._result, start, n)

  def rows(self, name):
    """float [tile_len, depth]."""
    return self._refs[name][self._sequence, self.position, :]

  def each(self, name):
    """[tile_len] of an array [n, length]."""
    return self._refs[name][self._sequence, self.position]

  def where(self):
    """Tile."""
    of_round = lambda name, r: self._refs[name][
      self._sequence, self.position, r
    ]
    key_position = self.each('key_position')
    return tiles.Tile(self.position, key_position, self.place, of_round)

  def write(self, name, x):
    """Writes [tile_len, ...] to the positions, in the slice of the round."""
    ref = self._refs[name]
    at = (self._result, self.round, self.position)
    at += (slice(None),) * (x.ndim - 1)
    ref[at] = x.astype(ref.dtype)


def _scores(grid, own, query, key, of_query, of_key, keys_first=False):
  """Scores of a pair of tiles, -inf where the pair is not allowed.

  Args:
    grid: _Grid.
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
    grid.look, grid.n_rounds, own, query.where(), key.where(), keys_first
  )
  return jnp.where(allowed, scores, -jnp.inf)


def _keys(look, tokens):
  """(keys or queries, what multiplies them to give keys or None)."""
  if look.shared_qk:
    return tokens.rows('q'), tokens.each('inverse')
  return tokens.rows('k'), None


def _multiplier(refs, query, rows, key, columns):
  """Dropout of a pair of tiles, by where they begin in the block, or None."""
  if 'multiplier' not in refs:
    return None
  rows = pl.ds(rows, query.place.size)
  return refs['multiplier'][rows, pl.ds(columns, key.place.size)]


def _forward_program(grid, refs):
  look = grid.look
  query = grid.own(refs)
  q = query.rows('q')

  def add(row, key, softmax):
    scores = _scores(grid, query.round, query, key, q, _keys(look, key))
    multiplier = _multiplier(
      refs, query, _rem(query.start, look.chunk_len), key, row
    )
    return tiles.add_keys(softmax, scores, key.rows('v'), multiplier)

  softmax = tiles.start_softmax(grid.own_len, refs['v'].shape[-1])
  softmax = grid.over_window(
    query, look.n_chunks_before, look.n_chunks_after, add, softmax
  )
  out, norm = tiles.finish_softmax(softmax)
  query.write('out', out)
  query.write('norm', norm)


def _backward_program(grid, refs):
  own = grid.own(refs)
  dq = _as_queries(grid, refs, own)
  dk, dv = _as_keys(grid, refs, own)
  own.write('d_v', dv)
  if grid.look.shared_qk:
    own.write('d_q', dq + dk)
  else:
    own.write('d_q', dq)
    own.write('d_k', dk)


def _as_queries(grid, refs, own):
  """Gradient of a tile as queries, of the keys that they see.

  Returns:
    float32 [tile_len, d_qk].
  """
  look = grid.look
  q, d_out = own.rows('q'), own.rows('d_out')
  norm, inner = own.each('log_norm')[:, None], own.each('inner')[:, None]

  def add(row, key, dq):
    keys, inverse = _keys(look, key)
    scores = _scores(grid, own.round, own, key, q, (keys, inverse))
    d_weights = tiles.dot_transposed(d_out, key.rows('v'))
    multiplier = _multiplier(
      refs, own, _rem(own.start, look.chunk_len), key, row
    )
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
  look, chunk_len = grid.look, grid.look.chunk_len
  before, after = look.n_chunks_before, look.n_chunks_after
  keys, inverse = _keys(look, own)
  v = own.rows('v')

  def add(row, query, sums):
    queries, d_out = query.rows('q'), query.rows('d_out')
    scores = _scores(
      grid, query.round, query, own, queries, (keys, inverse), True
    )
    d_weights = tiles.dot_transposed(v, d_out)
    norm, inner = query.each('log_norm')[None], query.each('inner')[None]
    # The query's chunk comes row // chunk_len - after chunks after the key's.
    column = (before + after - _div(row, chunk_len)) * chunk_len
    column += _rem(own.start, chunk_len)
    multiplier = _multiplier(refs, query, _rem(row, chunk_len), own, column)
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

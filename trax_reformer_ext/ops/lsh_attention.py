"""Multi-round LSH attention (Kitaev et al. 2020, section 2 and appendix A)."""

import jax
import jax.numpy as jnp

from trax_reformer_ext.ops.chunked_attention import (
  chunked_attention,
  dropout_multiplier,
)
from trax_reformer_ext.ops.chunks import pad_to_multiple
from trax_reformer_ext.ops.look import MASKED, Look, Orders
from trax_reformer_ext.ops.sorting import bucket_ends, sort_by_bucket

# All pairs of a sequence are computed, in one large product without sorted
# copies, if they are at most this many times those in the chunks.
_DENSE_UP_TO = 1


def lsh_attention(
  q,
  v,
  buckets,
  mask=None,
  *,
  n_buckets,
  chunk_len,
  n_chunks_before=1,
  n_chunks_after=0,
  causal=False,
  attend_across_buckets=True,
  allow_duplicate_attention=True,
  strictly_causal=False,
  wrap=True,
  dropout=0.0,
  dropout_rng=None,
  implementation='xla',
):
  """Shared query-key attention among tokens that hash to nearby places.

  Each round sorts the sequence by (bucket, position) and cuts it into chunks;
  a query sees its own chunk and its neighbours. All rounds together are one
  softmax (equations 14 to 16). Keys are the queries at length 1; a token sees
  itself only where it may see nothing else.

  What a round admits:
    default: every key within the chunks, as Trax; the chunks of all rounds
      form one ring. A pair counts as often as rounds admit it.
    attend_across_buckets=False: of those, the keys of the query's bucket, and
      only within the round (P_i of equation 5).
    allow_duplicate_attention=False: each pair counts once (N_ij of equation
      16), and the look ends at the edges of a round.
    strictly_causal=True: the n_chunks_before * chunk_len keys of the query's
      bucket that come last before it, each pair once. An output then depends
      on no later token, not even through the place of the chunk borders.

  Args:
    q: float [batch, heads, length, d_qk], queries; any length.
    v: float [batch, heads, length, d_v].
    buckets: int [batch, heads, rounds, length], in [0, n_buckets).
    mask: None, or bool [batch, length], True at real tokens. Padding is sorted
      into a bucket of its own and never attended.
    n_buckets: int, the number of buckets.
    chunk_len: int, tokens in a chunk.
    n_chunks_before: int, chunks before its own that a query sees.
    n_chunks_after: int, chunks after its own.
    causal: bool, no attention to later positions.
    attend_across_buckets: bool.
    allow_duplicate_attention: bool.
    strictly_causal: bool; implies causal, and the two above as False.
    wrap: bool; False ends the default mode's look at the edges of a round.
    dropout: float, rate at which attention weights are dropped.
    dropout_rng: JAX PRNG key, needed for dropout > 0.
    implementation: as ops.chunked_attention takes it.

  Returns:
    [batch, heads, length, d_v], dtype of v; zero where nothing is allowed.
  """
  batch, heads, length, _ = q.shape
  if strictly_causal:
    causal, n_chunks_after = True, 0
    attend_across_buckets = allow_duplicate_attention = False
  intervals = not (attend_across_buckets and allow_duplicate_attention)
  look = Look(
    chunk_len=chunk_len,
    n_chunks_before=n_chunks_before,
    n_chunks_after=n_chunks_after,
    causal=causal,
    shared_qk=True,
    ring=wrap and not intervals,
    intervals=intervals,
    count_once=not allow_duplicate_attention,
  )
  n_computed = buckets.shape[2] * chunk_len * look.n_chunks
  dense = implementation == 'xla' and length <= _DENSE_UP_TO * n_computed
  look = look._replace(dense=dense)
  if mask is None and length % chunk_len:
    mask = jnp.ones((batch, length), bool)
  q, v, buckets = (
    pad_to_multiple(x, chunk_len, axis)
    for x, axis in ((q, 2), (v, 2), (buckets, 3))
  )
  padded = q.shape[2]
  position = jnp.arange(padded, dtype=jnp.int32)
  key_position = jnp.broadcast_to(position, (batch, 1, padded))
  if mask is not None:
    mask = pad_to_multiple(mask, chunk_len, 1, False)[:, None]
    key_position = jnp.where(mask, key_position, MASKED)
    buckets = jnp.where(mask[:, None], buckets.astype(jnp.int32), n_buckets)
    n_buckets += 1
  order, rank = sort_by_bucket(buckets, n_buckets)
  low = size = None
  if intervals:
    low, size = _intervals(
      look, buckets, order, rank, attend_across_buckets, strictly_causal
    )
  flat = lambda x: x.reshape((batch * heads,) + x.shape[2:])
  key_position = jnp.broadcast_to(key_position, (batch, heads, padded))
  out = chunked_attention(
    flat(q),
    None,
    flat(v),
    flat(key_position),
    jax.tree.map(flat, Orders(order, rank, low, size)),
    dropout_multiplier(dropout_rng, dropout, look, padded),
    look=look,
    implementation=implementation,
  )
  return out.reshape(v.shape)[:, :, :length]


def _intervals(
  look, buckets, order, rank, attend_across_buckets, strictly_causal
):
  """First rank and number of ranks that each token may see, by position."""
  length = rank.shape[-1]
  first, last = jnp.zeros_like(rank), jnp.full_like(rank, length)
  if not attend_across_buckets:
    first, last = bucket_ends(buckets, order, rank)
  if strictly_causal:
    low = jnp.maximum(first, rank - look.n_chunks_before * look.chunk_len)
    return low, rank - low
  chunk = rank // look.chunk_len
  low = (chunk - look.n_chunks_before) * look.chunk_len
  high = (chunk + look.n_chunks_after + 1) * look.chunk_len
  low, high = jnp.maximum(first, low), jnp.minimum(last, high)
  return low, high - low

"""Slow, obviously correct attention: numpy float64 and one loop a definition.

Everything here works on full [length, length] matrices. `counts[i, j]` says
how often query i may look at key j (0 = not at all); the rest is one softmax.
"""

import jax
import jax.numpy as jnp
import numpy as np

# For programs that run a few times: compiles twice as fast.
EPSILON = 1e-6  # Trax's, added to the mean square of a key


def lsh_counts(
  buckets,
  real,
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
):
  """How often every query may look at every key, by the definitions.

  Args:
    buckets: int [rounds, length].
    real: bool [length], False for padding, which no query looks at.
    n_buckets: int; padding gets the bucket n_buckets.
    others: as of trax_reformer_ext.ops.lsh_attention.

  Returns:
    int [length, length], without the diagonal.
  """
  n_rounds, length = buckets.shape
  padded = -(-length // chunk_len) * chunk_len
  n_chunks = padded // chunk_len
  is_real = np.zeros(padded, bool)
  is_real[:length] = real
  bucket = np.full((n_rounds, padded), n_buckets)
  bucket[:, :length] = np.where(real, buckets, n_buckets)
  orders = [np.lexsort((np.arange(padded), b)) for b in bucket]
  n_before, n_after = n_chunks_before, n_chunks_after

  by_round = np.zeros((n_rounds, padded, padded), int)
  if strictly_causal:
    for r, order in enumerate(orders):
      for rank, i in enumerate(order):
        for j in order[max(0, rank - n_before * chunk_len) : rank]:
          by_round[r, i, j] = bucket[r, i] == bucket[r, j]
    counts = by_round.max(axis=0)
  elif attend_across_buckets and allow_duplicate_attention:
    # One ring (or row) of the chunks of all rounds.
    chunks = np.concatenate(orders).reshape(-1, chunk_len)
    for c, queries in enumerate(chunks):
      for offset in range(-n_before, n_after + 1):
        other = c + offset
        if wrap:
          other %= len(chunks)
        elif other // n_chunks != c // n_chunks:
          continue
        for i in queries:
          for j in chunks[other]:
            by_round[c // n_chunks, i, j] += 1
    counts = by_round.sum(axis=0)
  else:
    for r, order in enumerate(orders):
      chunk = np.empty(padded, int)
      chunk[order] = np.arange(padded) // chunk_len
      for i in range(padded):
        for j in range(padded):
          near = chunk[i] - n_before <= chunk[j] <= chunk[i] + n_after
          same = bucket[r, i] == bucket[r, j]
          by_round[r, i, j] = near and (same or attend_across_buckets)
    combine = np.sum if allow_duplicate_attention else np.max
    counts = combine(by_round, axis=0)
  counts = counts[:length, :length]
  return counts * _allowed(real, causal or strictly_causal, exclude_self=True)


def local_counts(
  length,
  real,
  *,
  chunk_len,
  n_chunks_before=0,
  n_chunks_after=0,
  causal=False,
  wrap=True,
  exclude_self=False,
):
  """As lsh_counts, for chunks of the sequence itself.

  Returns:
    int [length, length].
  """
  padded = -(-length // chunk_len) * chunk_len
  n_chunks = padded // chunk_len
  counts = np.zeros((padded, padded), int)
  for c in range(n_chunks):
    for offset in range(-n_chunks_before, n_chunks_after + 1):
      other = c + offset
      if not wrap and not 0 <= other < n_chunks:
        continue
      other %= n_chunks
      rows = slice(c * chunk_len, (c + 1) * chunk_len)
      columns = slice(other * chunk_len, (other + 1) * chunk_len)
      counts[rows, columns] += 1
  return counts[:length, :length] * _allowed(real, causal, exclude_self)


def full_counts(length, real, *, causal=False, exclude_self=False):
  """As lsh_counts, for exact attention."""
  return np.ones((length, length), int) * _allowed(real, causal, exclude_self)


def _allowed(real, causal, exclude_self):
  length = len(real)
  allowed = np.broadcast_to(real[None, :], (length, length)).copy()
  if causal:
    allowed &= np.tril(np.ones((length, length), bool))
  if exclude_self:
    allowed &= ~np.eye(length, dtype=bool)
  return allowed


def shared_keys(q, xp=np):
  """Length-normalised keys, scaled by 1 / sqrt(d), as Trax."""
  mean_square = xp.mean(q * q, axis=-1, keepdims=True)
  return q / xp.sqrt(mean_square + EPSILON) / xp.sqrt(1.0 * q.shape[-1])


def attention(q, k, v, counts, real, xp=np):
  """One softmax a row over the allowed keys, each as often as counted.

  Args:
    q: [..., length, d_qk].
    k: [..., length, d_qk], or None for shared query-key attention: then a
      real token that sees nothing else sees itself.
    v: [..., length, d_v].
    counts: int [..., length, length].
    real: bool [..., length].
    xp: numpy, or jax.numpy to differentiate.

  Returns:
    [..., length, d_v], zero where nothing is allowed.
  """
  keys = shared_keys(q, xp) if k is None else k / xp.sqrt(1.0 * k.shape[-1])
  scores = xp.einsum('...id,...jd->...ij', q, keys)
  scores = xp.where(counts > 0, scores, -xp.inf)
  some = (counts > 0).any(axis=-1)
  top = xp.where(some, xp.max(scores, axis=-1), 0.0)
  weights = counts * xp.exp(scores - top[..., None])
  total = xp.where(some, xp.sum(weights, axis=-1), 1.0)
  out = xp.einsum('...ij,...jd->...id', weights, v) / total[..., None]
  if k is None:
    out = xp.where((~some & real)[..., None], v, out)
  return out


def attention_and_gradients(q, k, v, counts, real, d_out):
  """Output and gradients of sum(out * d_out), in float64 by JAX's autodiff.

  Args:
    d_out: [..., length, d_v].
    others: as of attention().

  Returns:
    (out, gradients): numpy float64; gradients with respect to (q, v), or to
    (q, k, v) if k is given.
  """
  with jax.enable_x64(True):
    arrays = [q, v] if k is None else [q, k, v]
    arrays = [jnp.asarray(np.asarray(x, np.float64)) for x in arrays]
    counts, real = jnp.asarray(counts), jnp.asarray(real)

    def run(*arrays):
      q, *k, v = arrays
      return attention(q, k[0] if k else None, v, counts, real, jnp)

    out, vjp = jax.vjp(run, *arrays)
    gradients = vjp(jnp.asarray(np.asarray(d_out, np.float64)))
    assert out.dtype == jnp.float64
    return np.asarray(out), [np.asarray(g) for g in gradients]


def run_attention(attention, q, k, v, mask, d_out, **options):
  """Output and gradients of attention(q, k, v, mask, **options), jitted.

  Returns:
    (out, gradients): gradients as of attention_and_gradients().
  """
  arrays = (q, v) if k is None else (q, k, v)

  @jax.jit
  def both(arrays, d_out):
    def attend(q, *rest):
      k = rest[0] if len(rest) == 2 else None
      return attention(q, k, rest[-1], mask, **options)

    out, vjp = jax.vjp(attend, *arrays)
    return out, vjp(d_out)

  return both(arrays, d_out)


def batched_lsh_counts(buckets, mask=None, **options):
  """lsh_counts for every example and head.

  Args:
    buckets: int [batch, heads, rounds, length].
    mask: None, or bool [batch, length].
    **options: as of lsh_counts.

  Returns:
    (counts [batch, heads, length, length], real [batch, heads, length]).
  """
  buckets = np.asarray(buckets)
  batch, heads, _, length = buckets.shape
  mask = np.ones((batch, length), bool) if mask is None else np.asarray(mask)
  counts = np.stack(
    [
      np.stack([lsh_counts(head, real, **options) for head in example])
      for example, real in zip(buckets, mask, strict=True)
    ]
  )
  return counts, np.broadcast_to(mask[:, None], (batch, heads, length))


def assert_close(actual, expected, tolerance=2e-5, message=''):
  """Asserts closeness relative to the largest expected value (at least 0.1)."""
  actual = np.asarray(actual, np.float64)
  expected = np.asarray(expected, np.float64)
  assert actual.shape == expected.shape, (actual.shape, expected.shape)
  assert np.isfinite(actual).all(), f'{message}: not finite'
  scale = max(0.1, np.max(np.abs(expected), initial=0.0))
  error = np.max(np.abs(actual - expected), initial=0.0) / scale
  assert error <= tolerance, f'{message}: relative error {error:.2e}'

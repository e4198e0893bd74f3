"""Attention within chunks of a sequence that is sorted once for each round.

The common core of LSH attention (several rounds, each with its own order) and
of local attention (one round, the order of the sequence). Every row is one
softmax over all keys that any round allows it to see (appendix A of Kitaev et
al. 2020: combining the rounds by their log-normalisers is the same sum).

The gradient is written by hand: what is kept for it are the inputs, the
output, one log-normaliser a token and the orders; scores and probabilities
exist for one group of heads at a time, forward and backward, and for a window
of chunks at a time where one head has very many. Sequences so short that the
probabilities take no more memory than queries and values keep them too.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from trax_reformer_ext.ops import fused_attention
from trax_reformer_ext.ops.keys import (
  inverse_norm,
  normalised_keys,
  normalised_keys_bwd,
)
from trax_reformer_ext.ops.look import is_alone
from trax_reformer_ext.ops.loops import divisor, map_onto
from trax_reformer_ext.ops.platforms import scores_bytes
from trax_reformer_ext.ops.views import Dense, Rounds
from trax_reformer_ext.ops.windows import over_windows


def chunked_attention(
  q,
  k,
  v,
  key_position,
  orders,
  multiplier,
  *,
  look,
  implementation='xla',
):
  """Attends within chunks of every round's order, as one softmax a query.

  out_i = sum_j m_ij exp(q_i . k_j - z_i) v_j over the allowed pairs (round,
  j), z_i the log of the sum of exp(q_i . k_j) over the same pairs (equations
  14 to 16 of the paper); v_i where look.shared_qk and no pair but (i, i) is
  allowed; 0 where nothing is allowed.

  Args:
    q: float [n, length, d_qk], scaled queries if k is given, n = examples
      times heads, length a multiple of look.chunk_len.
    k: float [n, length, d_qk], or None when look.shared_qk: then
      k_j = q_j / |q_j|.
    v: float [n, length, d_v].
    key_position: int32 [n, length], the position of each key, or MASKED.
    orders: None for the order of the sequence, or Orders of int32
      [n, rounds, length].
    multiplier: float32 of the shape look.block(length), dropout of the
      attention weights, shared by all blocks (as in Trax); or None.
    look: Look.
    implementation: 'xla'; 'fused', one kernel for GPUs; or 'interpreted', the
      kernel's program by JAX's operations, for tests.

  Returns:
    [n, length, d_v], dtype of v. Scores, softmax and sums are float32.
  """
  n_rounds = 1 if orders is None else orders.rank.shape[1]
  n, length = q.shape[:2]
  if implementation == 'xla':
    rows, width = look.block(length)
    n_blocks = 1 if look.dense else n_rounds * length // rows
    bytes_each = n_blocks * rows * width * 4
    group = divisor(n, max(1, scores_bytes() // bytes_each))
  else:
    group = fused_attention.n_at_once(q, v, n_rounds)
  return _attention(
    look, group, implementation, q, k, v, key_position, orders, multiplier
  )


def dropout_multiplier(rng, rate, look, length):
  """Draws the dropout of attention weights, shared by all blocks.

  Args:
    rng: JAX PRNG key, or None if rate is 0.
    rate: float in [0, 1).
    look: Look.
    length: int, positions in a sequence.

  Returns:
    float32 of the shape look.block(length), 0 or 1 / (1 - rate); None if rate
    is 0.
  """
  if not rate:
    return None
  keep = jax.random.bernoulli(rng, 1 - rate, look.block(length))
  return keep.astype(jnp.float32) / (1 - rate)


def _over_groups(fn, group, onto, *arrays):
  """Maps fn over groups of the leading axis, one group after another."""
  n = onto[0].shape[0]
  if n == group:
    return fn(*arrays)
  split = lambda x: x.reshape((n // group, group) + x.shape[1:])
  merge = lambda x: x.reshape((n,) + x.shape[2:])
  onto, arrays = jax.tree.map(split, (onto, arrays))
  return jax.tree.map(merge, map_onto(fn, onto, *arrays))


def _chosen(implementation, fn, kernel):
  """fn, or the kernel that computes the same, differentiated as fn.

  Kernels have no gradient; second derivatives need one.
  """
  if implementation == 'xla':
    return fn
  interpret = implementation == 'interpreted'
  kernel = functools.partial(kernel, interpret=interpret)
  run = jax.custom_vjp(kernel)
  run.defvjp(
    lambda *inputs: (kernel(*inputs), inputs),
    lambda inputs, d_results: jax.vjp(fn, *inputs)[1](d_results),
  )
  return run


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _attention(look, group, implementation, *inputs):
  return _run_forward(look, group, implementation, False, *inputs)[0]


def _run_forward(
  look, group, implementation, keep, q, k, v, key_position, orders, multiplier
):
  forward = _chosen(
    implementation,
    functools.partial(_forward, look, keep, multiplier),
    functools.partial(fused_attention.forward, look, multiplier),
  )
  kept = jnp.zeros(q.shape[:2] + (q.shape[1],), jnp.float32) if keep else None
  onto = v, v[..., 0].astype(jnp.float32), kept
  return _over_groups(forward, group, onto, q, k, v, key_position, orders)


def _attention_fwd(look, group, implementation, *inputs):
  q, _, v, *_ = inputs
  keep = look.dense and q.shape[1] <= q.shape[2] + v.shape[2]
  keep = keep and implementation == 'xla'
  results = _run_forward(look, group, implementation, keep, *inputs)
  return results[0], (*inputs, *results)


def _attention_bwd(look, group, implementation, saved, d_out):
  q, k, v, key_position, orders, multiplier, *results = saved
  backward = _chosen(
    implementation,
    functools.partial(_backward, look, multiplier),
    functools.partial(fused_attention.backward, look, multiplier),
  )
  onto = q, k, v
  dq, dk, dv = _over_groups(
    backward, group, onto, q, k, v, key_position, orders, *results, d_out
  )
  zeros = lambda x: np.zeros(x.shape, jax.dtypes.float0)
  none = None if multiplier is None else jnp.zeros_like(multiplier)
  return dq, dk, dv, zeros(key_position), jax.tree.map(zeros, orders), none


_attention.defvjp(_attention_fwd, _attention_bwd)


@jax.named_scope('chunked_attention')
def _forward(look, keep, multiplier, q, k, v, key_position, orders):
  """One group's output [g, length, d_v] and log-normaliser [g, length].

  With keep, also its probabilities [g, length, length]; otherwise None.
  """
  attend = functools.partial(
    _attend, look, keep, multiplier, q, k, v, key_position
  )
  view = _view(look, q.shape[:2], orders)
  (top, total, sums, kept), _ = _over_chunks(attend, look, orders, view, q)
  # Rounded like the output, so that half as much is gathered in bfloat16.
  sums = sums.astype(v.dtype)
  top, total, sums = (view.by_round(x) for x in (top, total, sums))
  highest = functools.reduce(jnp.maximum, top)
  factors = [jnp.exp(t - highest) for t in top]
  total = sum(f * t for f, t in zip(factors, total, strict=True))
  out = sum(
    f[..., None] * s.astype(jnp.float32)
    for f, s in zip(factors, sums, strict=True)
  )
  any_key = total != 0
  some = jnp.where(any_key, total, 1)  # nothing divides by 0
  out = jnp.where(any_key[..., None], out / some[..., None], 0)
  # The log-normaliser inf says that nothing was seen: exp(score - inf) = 0.
  log_norm = jnp.where(any_key, highest + jnp.log(some), jnp.inf)
  if look.shared_qk:
    alone = is_alone(log_norm, key_position)[..., None]
    out = jnp.where(alone, v.astype(out.dtype), out)
  return out.astype(v.dtype), log_norm, kept


def _attend(look, keep, multiplier, q, k, v, key_position, view):
  """Unnormalised softmax sums of the chunks of a view.

  Returns:
    ((highest score, sum of exp(score - highest), weighted sum of the values,
    probabilities with keep or None), ()), as over_windows has it.
  """
  queries = view.chunks(q)
  keys = view.look(_keys(look, view, queries, k))
  values = view.look(view.chunks(v))
  scores = _dot('rncd,rnwd->rncw', view.own(queries), keys)
  counts = view.counts(key_position)
  scores = jnp.where(counts > 0, scores, -jnp.inf)
  # A finite floor, so that a row without any key gives exp(-inf) = 0.
  top = jnp.maximum(jnp.max(scores, axis=-1), jnp.float32(-1e30))
  weights = _times(counts, jnp.exp(scores - top[..., None]))
  total = jnp.sum(weights, axis=-1)
  kept = None
  if keep:
    kept = (weights / jnp.where(total != 0, total, 1)[..., None])[:, 0]
  if multiplier is not None:
    weights = weights * multiplier
  sums = _dot('rncw,rnwv->rncv', weights.astype(v.dtype), values)
  return (top, total, sums, kept), ()


@jax.named_scope('chunked_attention')
def _backward(
  look, multiplier, q, k, v, key_position, orders, out, log_norm, kept, d_out
):
  """Gradients of one group with respect to q, k and v."""
  # sum_j P_ij dP_ij = out_i . d_out_i
  inner = jnp.sum(out.astype(jnp.float32) * d_out.astype(jnp.float32), axis=-1)
  gradients = functools.partial(
    _gradients,
    look,
    multiplier,
    *(q, k, v, key_position, log_norm, inner, kept, d_out),
  )
  view = _view(look, q.shape[:2], orders)
  d_own, (d_reached, d_values) = _over_chunks(gradients, look, orders, view, q)
  # Rounded before they are gathered, and added up in float32.
  total = lambda d, x: sum(
    d.astype(jnp.float32) for d in view.by_round(d.astype(x.dtype))
  )
  dq = total(d_reached if look.shared_qk else d_own, q)
  dk = None if look.shared_qk else total(d_reached, k)
  dv = total(d_values, v)
  if look.shared_qk:
    alone = is_alone(log_norm, key_position)[..., None]
    dv += jnp.where(alone, d_out.astype(jnp.float32), 0)
  dk = None if dk is None else dk.astype(k.dtype)
  return dq.astype(q.dtype), dk, dv.astype(v.dtype)


def _gradients(
  look, multiplier, q, k, v, key_position, log_norm, inner, kept, d_out, view
):
  """Gradients of a view, float32 chunks.

  Returns:
    (of the queries, (of the keys, of the values)); with look.shared_qk ((), (of
    the queries in both roles, of the values)).
  """
  near = view.chunks(q)
  keys = view.look(_keys(look, view, near, k))
  queries = view.own(near)
  values = view.look(view.chunks(v))
  d_outs = view.own(view.chunks(d_out))
  if kept is None:
    # Scores as [key, query]: then the left operand of most products has the
    # contracted axis minor, which XLA's CPU back end runs twice as fast.
    pairs = 'rnwc'
    of_query = lambda x: jnp.expand_dims(view.own(view.chunks(x)), -2)
    scores = _dot(f'rnwd,rncd->{pairs}', keys, queries)
    counts = view.counts(key_position, keys_first=True)
    scores = jnp.where(counts > 0, scores, -jnp.inf)
    weights = _times(counts, jnp.exp(scores - of_query(log_norm)))
    multiplier = None if multiplier is None else multiplier.T
  else:
    pairs = 'rncw'
    of_query = lambda x: jnp.expand_dims(view.own(view.chunks(x)), -1)
    weights = view.chunks(kept)
  d_weights = _dot(f'rnwv,rncv->{pairs}', values, d_outs)
  dropped = weights
  if multiplier is not None:
    d_weights = d_weights * multiplier
    dropped = weights * multiplier
  d_scores = weights * (d_weights - of_query(inner))
  d_scores = d_scores.astype(q.dtype)
  d_values = _dot(f'{pairs},rncv->rnwv', dropped.astype(v.dtype), d_outs)
  d_keys = view.unlook(_dot(f'{pairs},rncd->rnwd', d_scores, queries))
  d_queries = _dot(f'{pairs},rnwd->rncd', d_scores, keys)
  d_values = view.unlook(d_values)
  if not look.shared_qk:
    return d_queries, (d_keys, d_values)
  x = near.astype(jnp.float32)
  d_near = normalised_keys_bwd(x, inverse_norm(x), d_keys)
  return (), (d_near + view.disown(d_queries), d_values)


def _view(look, shape, orders):
  return (Dense if look.dense else Rounds)(look, shape, orders)


def _over_chunks(fn, look, orders, view, q):
  """fn(view), in windows where the scores of one sequence are too many."""
  n, length, _ = q.shape
  rows, width = look.block(length)
  most = max(1, scores_bytes() // (4 * rows * width))
  n_rounds = 1 if orders is None else orders.rank.shape[1]
  if look.dense or n > 1 or n_rounds * length // rows <= most:
    return fn(view)
  return over_windows(fn, most, look, orders, q)


def _keys(look, view, queries, k):
  return normalised_keys(queries) if look.shared_qk else view.chunks(k)


def _times(counts, weights):
  """Weights of pairs that count more than once; masked ones are 0 already."""
  return weights if counts.dtype == bool else weights * counts


def _dot(spec, x, y):
  return jnp.einsum(spec, x, y, preferred_element_type=jnp.float32)

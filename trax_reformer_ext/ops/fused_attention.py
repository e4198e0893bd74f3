"""Chunked attention by one kernel forward and one backward, for GPUs.

The same sums as ops/chunked_attention.py computes by XLA's operations, without
sorted copies of the tokens and without scores in memory: a kernel writes each
round's result to the positions of its tokens, and the rounds are then combined
by their log-normalisers (appendix A of Kitaev et al. 2020).
"""

import jax
import jax.numpy as jnp

from trax_reformer_ext.ops import triton
from trax_reformer_ext.ops.keys import inverse_norm
from trax_reformer_ext.ops.look import MASKED


# What the rounds of the sequences that are computed together write before it is
# added up fills at most this many bytes.
BYTES_BY_ROUND = 2**28


def bytes_by_round(q, k, v, n_rounds):
  """Bytes that the rounds of one sequence write in the backward pass.

  Args:
    q: float [n, length, d_qk].
    k: as q, or None.
    v: float [n, length, d_v].
    n_rounds: int.
  """
  written = (x for x in (q, k, v) if x is not None)
  return n_rounds * sum(x[0].size * x.dtype.itemsize for x in written)


def forward(look, interpret, multiplier, q, k, v, key_position, orders):
  """Output and log-normalisers.

  Args:
    look: Look, not dense.
    interpret: bool, computes by JAX's operations in place of the kernel.
    multiplier: None, or float32 [chunk_len, width].
    q: float [n, length, d_qk].
    k: float [n, length, d_qk], or None with look.shared_qk.
    v: float [n, length, d_v].
    key_position: int32 [n, length].
    orders: None, or Orders of int32 [n, rounds, length].

  Returns:
    (out [n, length, d_v] of v's dtype, log-normalisers float32 [n, length],
    inf where nothing is seen, None: no probabilities are kept).
  """
  n_rounds = 1 if orders is None else orders.order.shape[1]
  arrays = _arrays(look, multiplier, q, k, v, key_position, orders)
  out, norm = triton.forward(look, arrays, n_rounds, interpret=interpret)
  log_norm = jax.nn.logsumexp(norm, axis=1) if n_rounds > 1 else norm[:, 0]
  log_norm = jnp.where(jnp.isneginf(log_norm), jnp.inf, log_norm)
  if n_rounds > 1:
    share = jnp.exp(norm - log_norm[:, None])
    out = jnp.sum(share[..., None] * out.astype(jnp.float32), axis=1)
  else:
    out = out[:, 0]
  if look.shared_qk:
    alone = jnp.isposinf(log_norm) & (key_position != MASKED)
    out = jnp.where(alone[..., None], v.astype(out.dtype), out)
  return out.astype(v.dtype), log_norm, None


def backward(
  look,
  interpret,
  multiplier,
  q,
  k,
  v,
  key_position,
  orders,
  out,
  log_norm,
  kept,
  d_out,
):
  """Gradients.

  Args:
    look: as forward's, and so on.
    interpret: bool.
    multiplier: None, or float32 [chunk_len, width].
    q: float [n, length, d_qk].
    k: float [n, length, d_qk], or None.
    v: float [n, length, d_v].
    key_position: int32 [n, length].
    orders: None, or Orders.
    out: forward's output.
    log_norm: forward's log-normalisers.
    kept: None.
    d_out: [n, length, d_v], gradient of the output.

  Returns:
    (gradient of q, of k or None, of v), of their dtypes.
  """
  del kept
  n_rounds = 1 if orders is None else orders.order.shape[1]
  arrays = _arrays(look, multiplier, q, k, v, key_position, orders)
  inner = jnp.sum(out.astype(jnp.float32) * d_out.astype(jnp.float32), axis=-1)
  arrays |= dict(d_out=d_out, log_norm=log_norm, inner=inner)
  gradients = triton.backward(look, arrays, n_rounds, interpret=interpret)
  dq, *dk, dv = (jnp.sum(x.astype(jnp.float32), axis=1) for x in gradients)
  if look.shared_qk:
    alone = jnp.isposinf(log_norm) & (key_position != MASKED)
    dv += jnp.where(alone[..., None], d_out.astype(jnp.float32), 0)
  dk = dk[0].astype(k.dtype) if dk else None
  return dq.astype(q.dtype), dk, dv.astype(v.dtype)


def _arrays(look, multiplier, q, k, v, key_position, orders):
  """What the kernels read, by name."""
  arrays = dict(q=q, v=v, key_position=key_position)
  if look.shared_qk:
    arrays['inverse'] = inverse_norm(q.astype(jnp.float32))[..., 0]
  else:
    arrays['k'] = k
  if orders is not None:
    arrays['order'] = orders.order
  if look.intervals:
    arrays |= dict(rank=orders.rank, low=orders.low, size=orders.size)
  if multiplier is not None:
    arrays['multiplier'] = multiplier
  return arrays

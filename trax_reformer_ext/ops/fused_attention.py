"""Chunked attention by one kernel forward and one backward, for GPUs.

The same sums as ops/chunked_attention.py computes by XLA's operations, without
sorted copies of the tokens and without scores in memory: a kernel writes each
round's result to the positions of its tokens, and the rounds are then combined
by their log-normalisers (appendix A of Kitaev et al. 2020).
"""

import math

import jax
import jax.numpy as jnp

from trax_reformer_ext.ops import triton, triton_attention
from trax_reformer_ext.ops.keys import inverse_norm
from trax_reformer_ext.ops.look import is_alone
from trax_reformer_ext.ops.loops import divisor

# Sequences are computed in groups. What the rounds of a group write before it
# is summed takes about this many bytes, unless that needs more groups than
# _MAX_GROUPS.
_BYTES_BY_ROUND = 2**28
_MAX_GROUPS = 8


def why_unsupported(q, v, n_rounds, chunk_len):
  """Why the compiled kernels cannot compute a case, or None.

  Args:
    q: [..., length, d_qk], an array or its shape and dtype.
    v: [..., length, d_v].
    n_rounds: int.
    chunk_len: int.
  """
  if q.dtype not in (jnp.float32, jnp.bfloat16):
    return f'the input is {q.dtype}: float32 or bfloat16 is needed'
  length, d_qk = q.shape[-2:]
  if n_rounds * length * max(d_qk, v.shape[-1]) > triton.MAX_ELEMENTS:
    return (
      f'{n_rounds} rounds of {length} positions have more than 2^31 elements'
    )
  return triton_attention.why_unsupported(chunk_len, d_qk, v.shape[-1])


def n_at_once(q, v, n_rounds):
  """How many sequences kernels can index at once, a divisor of all."""
  n, length, d_qk = q.shape
  of_one = length * max(n_rounds, d_qk, v.shape[-1])
  return divisor(n, triton.MAX_ELEMENTS // of_one)


def forward(look, multiplier, q, k, v, key_position, orders, *, interpret):
  """Output and log-normalisers.

  Args:
    look: Look, not dense.
    multiplier: None, or float32 [chunk_len, width].
    q: float [n, length, d_qk].
    k: float [n, length, d_qk], or None with look.shared_qk.
    v: float [n, length, d_v].
    key_position: int32 [n, length].
    orders: None, or Orders of int32 [n, rounds, length].
    interpret: bool, computes by JAX's operations in place of the kernel.

  Returns:
    (out [n, length, d_v] of v's dtype, log-normalisers float32 [n, length],
    inf where nothing is seen, None: no probabilities are kept).
  """
  n_rounds = 1 if orders is None else orders.order.shape[1]
  arrays = _arrays(look, multiplier, q, k, v, key_position, orders)

  def run(first, n, arrays):
    out, norm = triton_attention.forward(
      look, arrays, n_rounds, first=first, n=n, interpret=interpret
    )
    if n_rounds == 1:
      out, log_norm = out[:, 0], norm[:, 0]
    else:
      log_norm = jax.nn.logsumexp(norm, axis=1)
      share = jnp.exp(norm - _inf_if_unseen(log_norm)[:, None])[..., None]
      out = jnp.sum(share * out.astype(jnp.float32), axis=1)
    log_norm = _inf_if_unseen(log_norm)
    if look.shared_qk:
      alone = is_alone(log_norm, key_position[first : first + n])[..., None]
      out = jnp.where(alone, v[first : first + n].astype(out.dtype), out)
    return out.astype(v.dtype), log_norm

  out, log_norm = _in_groups(run, n_rounds, arrays)
  return out, log_norm, None


def backward(
  look,
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
  *,
  interpret,
):
  """Gradients.

  Args:
    look: as forward's, and so on.
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
    interpret: bool.

  Returns:
    (gradient of q, of k or None, of v), of their dtypes.
  """
  del kept
  n_rounds = 1 if orders is None else orders.order.shape[1]
  arrays = _arrays(look, multiplier, q, k, v, key_position, orders)
  inner = jnp.sum(out.astype(jnp.float32) * d_out.astype(jnp.float32), axis=-1)
  arrays |= dict(d_out=d_out, log_norm=log_norm, inner=inner)

  def run(first, n, arrays):
    gradients = triton_attention.backward(
      look, arrays, n_rounds, first=first, n=n, interpret=interpret
    )
    *others, dv = (jnp.sum(x.astype(jnp.float32), axis=1) for x in gradients)
    if look.shared_qk:
      group = slice(first, first + n)
      alone = is_alone(log_norm[group], key_position[group])[..., None]
      dv += jnp.where(alone, d_out[group].astype(jnp.float32), 0)
    return *(x.astype(q.dtype) for x in others), dv.astype(v.dtype)

  dq, *dk, dv = _in_groups(run, n_rounds, arrays)
  return dq, dk[0] if dk else None, dv


def _in_groups(run, n_rounds, arrays):
  """Calls run(first, n, arrays) for groups of n sequences, and concatenates.

  Args:
    run: function that returns a tuple of arrays [n, ...].
    n_rounds: int.
    arrays: dict of arrays [sequences, ...].

  Returns:
    tuple of arrays [sequences, ...].
  """
  total = len(arrays['q'])
  written = [arrays[name] for name in ('q', 'k', 'v') if name in arrays]
  elements = n_rounds * max(x[0].size for x in written)
  most = min(triton.MAX_SEQUENCES, triton.MAX_ELEMENTS // elements)
  if n_rounds > 1:
    bytes_each = n_rounds * sum(x[0].nbytes for x in written)
    wanted = max(_BYTES_BY_ROUND // bytes_each, math.ceil(total / _MAX_GROUPS))
    most = min(most, wanted)
  n = divisor(total, max(1, most))
  parts = []
  for first in range(0, total, n):
    if parts:
      # Frees what the previous group wrote by round before this one starts.
      before, position = jax.lax.optimization_barrier(
        (parts.pop(), arrays['key_position'])
      )
      parts.append(before)
      arrays = dict(arrays, key_position=position)
    parts.append(run(first, n, arrays))
  if len(parts) == 1:
    return parts[0]
  return tuple(jnp.concatenate(x) for x in zip(*parts, strict=True))


def _inf_if_unseen(log_norm):
  """The log-normaliser inf says that nothing was seen."""
  return jnp.where(jnp.isneginf(log_norm), jnp.inf, log_norm)


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
    # A token's ranks side by side, as a kernel reads one after another.
    by_token = lambda x: jnp.swapaxes(x, 1, 2)
    arrays |= {k: by_token(getattr(orders, k)) for k in ('rank', 'low', 'size')}
  if multiplier is not None:
    arrays['multiplier'] = multiplier
  return arrays

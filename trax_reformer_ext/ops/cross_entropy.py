"""Projection, softmax and cross-entropy in slices (section 3, chunking)."""

import jax
import jax.numpy as jnp

from trax_reformer_ext.ops.devices import on_each_device
from trax_reformer_ext.ops.loops import scan_onto, zeros_after


@jax.custom_vjp
def chunked_cross_entropy(x, kernel, bias, targets, weights):
  """Sum of weighted cross-entropies of softmax(x @ kernel + bias).

  Logits exist for one slice at a time. The gradients are computed with the
  sum, slice by slice, so that no slice is projected twice.

  Args:
    x: float [n_slices, ..., d].
    kernel: float [d, vocab_size].
    bias: float [vocab_size].
    targets: int [n_slices, ...], in [0, vocab_size).
    weights: float [n_slices, ...].

  Returns:
    float32 scalar, in nats: sum of weights * (log sum exp(logits) - logit of
    the target).
  """

  def losses(slices, projection):
    x, *rest = slices
    return (), map_logits(_weighted_loss, x, *projection, *rest).sum()

  slices, projection = (x, targets, weights), (kernel, bias)
  return on_each_device(losses, slices, projection, axis=1)[1]


def map_logits(fn, x, kernel, bias, *arrays):
  """Maps fn(logits, *slices of the arrays) over slices; stacks its results.

  Args:
    fn: function of float32 logits [..., vocab_size] and one slice of each of
      the arrays.
    x: float [n_slices, ..., d].
    kernel: float [d, vocab_size].
    bias: float [vocab_size].
    *arrays: [n_slices, ...] each.

  Returns:
    [n_slices, ...], the results of fn.
  """

  def one(slices):
    x, *rest = slices
    return fn(_logits(x, kernel, bias), *rest)

  return jax.lax.map(one, (x, *arrays))


def _logits(x, kernel, bias):
  return jnp.matmul(x, kernel, preferred_element_type=jnp.float32) + bias


def _weighted_loss(logits, targets, weights):
  of_target = jnp.take_along_axis(logits, targets[..., None], axis=-1)
  losses = jax.nn.logsumexp(logits, axis=-1) - of_target[..., 0]
  return jnp.sum(losses * weights)


def _cross_entropy_fwd(x, kernel, bias, targets, weights):
  (d_x, losses), (loss, d_kernel, d_bias) = on_each_device(
    _loss_and_grad, (x, targets, weights), (kernel, bias), axis=1
  )
  return loss, (d_x, d_kernel, d_bias, losses)


def _loss_and_grad(slices, projection):
  """((gradient of x, losses), (their weighted sum, two more gradients))."""
  (x, targets, weights), (kernel, bias) = slices, projection

  def one(sums, x, targets, weights):
    logits = _logits(x, kernel, bias)
    norm = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    is_target = jnp.arange(bias.shape[0]) == targets[..., None]
    losses = norm[..., 0] - jnp.sum(logits * is_target, axis=-1)
    d_logits = (jnp.exp(logits - norm) - is_target) * weights[..., None]
    d_logits = d_logits.astype(x.dtype)
    d_x = jnp.matmul(d_logits, kernel.T)
    axes = tuple(range(x.ndim - 1))
    d_kernel = jnp.tensordot(x, d_logits, (axes, axes))
    parts = jnp.sum(losses * weights), d_kernel, jnp.sum(d_logits, axis=axes)
    sums = jax.tree.map(lambda s, p: s + p.astype(s.dtype), sums, parts)
    return sums, (d_x, losses)

  zeros = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
  start = zeros_after(x, (zeros(), zeros(*kernel.shape), zeros(*bias.shape)))
  (loss, d_kernel, d_bias), (d_x, losses) = scan_onto(
    one, start, (x, weights), x, targets, weights
  )
  d_kernel, d_bias = d_kernel.astype(kernel.dtype), d_bias.astype(bias.dtype)
  return (d_x.astype(x.dtype), losses), (loss, d_kernel, d_bias)


def _cross_entropy_bwd(gradients, d_loss):
  d_x, d_kernel, d_bias, d_weights = (
    (g * d_loss).astype(g.dtype) for g in gradients
  )
  return d_x, d_kernel, d_bias, None, d_weights


chunked_cross_entropy.defvjp(_cross_entropy_fwd, _cross_entropy_bwd)

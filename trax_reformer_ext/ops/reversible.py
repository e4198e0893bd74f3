"""A reversible sequence of equal blocks as one scan (section 3)."""

import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def reversible_scan(forward, reverse, xs, weights, aux):
  """Applies a reversible block once for each slice of its weights.

  x_{k+1}, out_k, saved_k = forward(x_k, weights_k, aux_k). The backward pass
  keeps x_n and the saved_k alone and walks back, (x_k, dx_k, dw_k) =
  reverse(x_{k+1}, dx_{k+1}, weights_k, aux_k, saved_k). As both are loops,
  what a block needs inside is freed before the next one starts, however deep
  the stack is.

  Args:
    forward: (xs, weights, aux) -> (xs, out, saved) of one block.
    reverse: (xs, d_xs, weights, aux, saved) -> (xs, d_xs, d_weights).
    xs: tuple of arrays. Integer and boolean ones (masks) have the gradient
      None in reverse.
    weights: tree of arrays [n_blocks, ...].
    aux: tree of arrays [n_blocks, ...] that get no gradient (random keys).

  Returns:
    (xs, outs): the last block's and every block's, stacked.
  """
  xs, outs, _ = _forward_scan(forward, xs, weights, aux)
  return xs, outs


def stored_scan(forward, xs, weights, aux):
  """The same function differentiated plainly: all activations are stored."""
  xs, outs, _ = _forward_scan(forward, xs, weights, aux)
  return xs, outs


def _forward_scan(forward, xs, weights, aux):
  def body(xs, weights_and_aux):
    xs, out, saved = forward(xs, *weights_and_aux)
    return xs, (out, saved)

  xs, (outs, saved) = jax.lax.scan(body, xs, (weights, aux))
  return xs, outs, saved


def _reversible_fwd(forward, reverse, xs, weights, aux):
  del reverse
  xs, outs, saved = _forward_scan(forward, xs, weights, aux)
  return (xs, outs), (xs, weights, aux, saved)


def _reversible_bwd(forward, reverse, residuals, cotangents):
  del forward
  xs, weights, aux, saved = residuals
  d_xs, _ = cotangents
  d_xs = tuple(
    d if jnp.issubdtype(x.dtype, jnp.inexact) else None
    for x, d in zip(xs, d_xs, strict=True)
  )

  def body(carry, block):
    xs, d_xs, d_weights = reverse(*carry, *block)
    return (xs, d_xs), d_weights

  (_, d_xs), d_weights = jax.lax.scan(
    body, (xs, d_xs), (weights, aux, saved), reverse=True
  )
  return d_xs, d_weights, None


reversible_scan.defvjp(_reversible_fwd, _reversible_bwd)

"""Layers that work on slices of the length (section 3, chunking)."""

import functools

import jax
import jax.numpy as jnp
from trax import layers as tl
from trax.layers import base

from trax_reformer_ext.layers._common import as_tuple, check, configurable
from trax_reformer_ext.layers.normalisation import (
  LayerNorm,
  check_activation_dtype,
)
from trax_reformer_ext.ops.chunks import pad_to_multiple
from trax_reformer_ext.ops.linear import linear
from trax_reformer_ext.ops.loops import scan_slices, zeros_after


class Chunked(base.Layer):
  """Runs a position-wise layer on slices of the length, one after another.

  Maps [batch, length, d], or several such, to [batch, length, d_out]. What the
  layer computes inside exists for one slice at a time, forward and backward,
  where it is computed again rather than kept. Every slice has
  the same random key, so that dropout masks shared along the length (as all
  of Trax's feed-forward layers have) are the same as without slices.
  """

  def __init__(self, layer, chunk_size, name=None, activation_dtype=None):
    """Creates the layer.

    Args:
      layer: a layer with one output that treats positions alike.
      chunk_size: int, positions in a slice; 0 for the whole length.
      name: str, name of this layer.
      activation_dtype: str, the dtype that the layer rounds its matrices to,
        which is then done once before the slices; None leaves it to the layer.

    Raises:
      ReformerError: a negative chunk_size.
    """
    check(
      isinstance(chunk_size, int) and chunk_size >= 0,
      f'{name or "Chunked"}.chunk_size is {chunk_size!r}: give an int of at '
      'least 0 (0: no slices)',
    )
    name = name or f'Chunked({chunk_size})'
    super().__init__(n_in=layer.n_in, name=name)
    self._chunk_size = chunk_size
    self._activation_dtype = activation_dtype
    self._sublayers = (layer,)
    self._weights = (None,)
    self._state = (None,)

  @property
  def sublayer(self):
    """The layer that is run on slices."""
    return self._sublayers[0]

  def init_weights_and_state(self, input_signature):
    weights, state = self.sublayer.init(input_signature, use_cache=True)
    self.weights, self.state = (weights,), (state,)

  def forward(self, x):
    weights, state, rng = self.weights[0], self.state[0], self.rng
    run = lambda x, weights: self.sublayer.pure_fn(x, weights, state, rng)
    length = as_tuple(x)[0].shape[1]
    if not 0 < self._chunk_size < length:
      y, new_state = run(x, weights)
      self.state = (new_state,)
      return y
    # Position-wise layers (Dense, LayerNorm, Dropout) leave their state as is.
    return _in_slices(self, x, weights, state, rng)

  def forward_and_backward(self, x, d_y, weights, state, rng):
    """Output and gradients with one evaluation of each slice.

    Args:
      x: [batch, length, d], input.
      d_y: [batch, length, d_out], gradient of the output.
      weights: this layer's weights.
      state: this layer's state.
      rng: JAX PRNG key of the forward pass.

    Returns:
      (y, d_x, d_weights).
    """
    run = lambda x, w: self.sublayer.pure_fn(x, w, state[0], rng)[0]
    rounded = self._rounded(weights[0])

    def run_one(x, d_y):
      y, vjp = jax.vjp(run, x, rounded)
      d_x, d_weights = vjp(d_y.astype(y.dtype))
      return (y, d_x), _like(weights[0], d_weights)

    if 0 < self._chunk_size < x.shape[1]:
      (y, d_x), d_weights = self._sum_slices(run_one, x, d_y)
    else:
      (y, d_x), d_weights = run_one(x, d_y)
    return y, d_x, (d_weights,)

  def _rounded(self, weights):
    """The weights as the layer uses them: matrices in its dtype."""
    dtype = self._activation_dtype
    if dtype is None:
      return weights
    return jax.tree.map(lambda w: w.astype(dtype) if w.ndim > 1 else w, weights)

  def slices_forward(self, x, weights, state, rng):
    """The output, slice by slice."""
    rounded = self._rounded(weights)
    run = lambda x: (self.sublayer.pure_fn(x, rounded, state, rng)[0], ())
    return self._sum_slices(run, x)[0]

  def slices_backward(self, x, d_y, weights, state, rng):
    """(d_x, d_weights), slice by slice."""
    run = lambda x, w: self.sublayer.pure_fn(x, w, state, rng)[0]
    rounded = self._rounded(weights)

    def gradients(x, d_y):
      d_x, d_weights = jax.vjp(run, x, rounded)[1](d_y)
      return d_x, _like(weights, d_weights)

    return self._sum_slices(gradients, x, d_y)

  def _sum_slices(self, fn, *arrays):
    """Maps fn over slices of arrays; the second of its results adds up."""
    size = self._chunk_size
    length = jax.tree.leaves(arrays)[0].shape[1]
    arrays = jax.tree.map(lambda x: pad_to_multiple(x, size, 1), arrays)
    last = jax.tree.leaves(arrays)[-1]
    one, sums = jax.eval_shape(fn, *jax.tree.map(lambda x: x[:, :size], arrays))
    whole = lambda y: jax.ShapeDtypeStruct(
      y.shape[:1] + last.shape[1:2] + y.shape[2:], y.dtype
    )
    ys, sums = zeros_after(last, (jax.tree.map(whole, one), sums))

    def step(sums, *slices):
      one, more = fn(*slices)
      return jax.tree.map(jnp.add, sums, more), one

    sums, ys = scan_slices(step, size, sums, ys, *arrays)
    return jax.tree.map(lambda y: y[:, :length], ys), sums


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _in_slices(layer, x, weights, state, rng):
  """A Chunked layer's output; its gradient keeps nothing but the inputs."""
  return layer.slices_forward(x, weights, state, rng)


def _in_slices_fwd(layer, *inputs):
  return _in_slices(layer, *inputs), inputs


def _in_slices_bwd(layer, inputs, d_y):
  x, *rest = inputs
  return *layer.slices_backward(x, d_y, *rest), None, None


_in_slices.defvjp(_in_slices_fwd, _in_slices_bwd)


def _like(weights, gradients):
  """Gradients in the dtypes of the weights, in which slices add up."""
  return jax.tree.map(lambda w, g: g.astype(w.dtype), weights, gradients)


class _Dense(tl.Dense):
  """trax.layers.Dense in its input's dtype, with gradients by ops.linear."""

  def forward(self, x):
    if not self._use_bias:
      return linear(x, self.weights.astype(x.dtype))
    kernel, bias = (w.astype(x.dtype) for w in self.weights)
    return linear(x, kernel) + bias


@configurable
def ChunkedDense(n_units, chunk_size=0, use_bias=True, use_bfloat16=False):
  """Returns trax.layers.Dense on slices of the length.

  Args:
    n_units: int, depth of the output.
    chunk_size: int, positions in a slice; 0 for the whole length.
    use_bias: bool.
    use_bfloat16: bool, weights in bfloat16.

  Returns:
    A layer that maps [batch, length, d] to [batch, length, n_units].
  """
  dense = _Dense(n_units, use_bias=use_bias, use_bfloat16=use_bfloat16)
  return Chunked(dense, chunk_size, name=f'ChunkedDense_{n_units}')


@configurable
def ChunkedFeedForward(
  d_model,
  d_ff,
  chunk_size=0,
  activation=tl.FastGelu,
  dropout=0.0,
  ff_dropout=None,
  center_layernorm=True,
  layer_norm_epsilon=1e-6,
  activation_dtype='float32',
  mode='train',
):
  """Returns the Reformer's feed-forward block on slices of the length.

  Layer normalisation, Dense to d_ff, dropout, activation, Dense to d_model,
  dropout, with Trax's weights in Trax's order. The [length, d_ff] array exists
  for one slice at a time.

  Args:
    d_model: int, depth of input and output.
    d_ff: int, depth between.
    chunk_size: int, positions in a slice; 0 for the whole length.
    activation: function that returns a layer.
    dropout: float, rate after the second Dense.
    ff_dropout: float, rate after the first Dense; None for the same.
    center_layernorm: bool, False for RMS normalisation.
    layer_norm_epsilon: float, added to the variance.
    activation_dtype: str, of all that comes after the normalisation.
    mode: 'train' or 'eval'; dropout is active in 'train'.

  Returns:
    A layer that maps [batch, length, d_model] to [batch, length, d_model].

  Raises:
    ReformerError: another dtype than 'float32' and 'bfloat16'.
  """
  check_activation_dtype('ChunkedFeedForward', activation_dtype)
  drop = lambda rate: tl.Dropout(rate=rate, shared_axes=[-2], mode=mode)
  block = tl.Serial(
    LayerNorm(center_layernorm, layer_norm_epsilon, activation_dtype),
    _Dense(d_ff),
    drop(dropout if ff_dropout is None else ff_dropout),
    activation(),
    _Dense(d_model),
    drop(dropout),
  )
  name = f'ChunkedFeedForward_{d_ff}'
  return Chunked(block, chunk_size, name, activation_dtype)

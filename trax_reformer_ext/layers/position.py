"""Positional encodings that take any length they are made for."""

import math

import gin
import jax
import jax.numpy as jnp
import numpy as np
from trax import layers as tl
from trax.layers import base

from trax_reformer_ext.layers._common import check, check_mode, configurable
from trax_reformer_ext.layers.prompt import Prompt

# So that a config can set AxialPositionalEncoding.kernel_initializer.
RandomNormalInitializer = gin.external_configurable(
  tl.RandomNormalInitializer, module='trax_reformer_ext'
)


@configurable
def SinusoidalInitializer(stddev=0.02, shortest=4.0, longest=128.0):
  """Returns an initializer of position vectors that neighbours nearly share.

  Position p gets sines and cosines of 2 pi p / wavelength (Vaswani et al.
  2017, section 3.5), with wavelengths in geometric progression. So attention
  finds what is near before it has learned any position.

  Args:
    stddev: float, root mean square of the values.
    shortest: float, shortest wavelength, in positions.
    longest: float, longest wavelength, in positions.

  Returns:
    A function of (shape, rng) that makes float32 of a shape (..., depth), of
    which the leading axes together are the positions; rng is not used.

  Raises:
    ReformerError: an odd depth, or wavelengths that are not positive.
  """
  check(
    0 < shortest <= longest,
    f'SinusoidalInitializer.shortest is {shortest} and longest is {longest}: '
    'give positive wavelengths, the shortest first',
  )

  def initialise(shape, rng):
    del rng
    depth = shape[-1]
    check(
      depth % 2 == 0,
      f'SinusoidalInitializer is for an axis of depth {depth}: give an even '
      'depth in pos_d_axial_embs',
    )
    position = np.arange(math.prod(shape[:-1]))[:, None]
    wavelengths = np.geomspace(shortest, longest, depth // 2)
    angles = 2 * np.pi * position / wavelengths
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
    return jnp.asarray(2**0.5 * stddev * waves, jnp.float32).reshape(shape)

  return initialise


class PositionalEncoding(tl.PositionalEncoding):
  """trax.layers.PositionalEncoding that refuses inputs longer than max_len.

  In mode 'predict' the state counts the positions of every example.
  """

  def init_weights_and_state(self, input_signature):
    super().init_weights_and_state(input_signature)
    if self._mode == 'predict':
      self.state = Prompt()

  def forward(self, inputs):
    if self._mode == 'predict':
      table = self.weights.reshape(self._max_len, -1)
      positions, self.state = _next_positions(self.state, inputs)
      return inputs + jnp.take(table, positions, axis=0, mode='fill')
    length = inputs.shape[1]
    check(
      length <= self._max_len,
      f'max_len is {self._max_len}, but the input has {length} '
      'positions: raise max_len or shorten the input',
    )
    return super().forward(inputs)


@configurable
class AxialPositionalEncoding(base.Layer):
  """Axial positional encoding (section 4 of the appendix's setup in Trax).

  Adds to [batch, length, d_model] a sum over axes of learned embeddings, each
  in its own features: position i has index i // prod(shape[a + 1:]) %
  shape[a] on axis a. Takes any length up to prod(shape) and touches only the
  rows it needs. Weights as trax.layers.AxialPositionalEncoding's, one
  [1, 1, .., shape[a], .., 1, d_embs[a]] an axis.
  """

  def __init__(
    self,
    shape=(64, 64, 3),
    d_embs=(384, 384, 256),
    kernel_initializer=None,
    dropout=0.0,
    dropout_broadcast_dims=(),
    mode='train',
  ):
    """Creates the layer.

    Args:
      shape: tuple of ints; their product is the longest input.
      d_embs: tuple of ints, depth of each axis; their sum is d_model.
      kernel_initializer: function of (shape, rng); None for a standard normal.
      dropout: float, rate at which features of the encoding are dropped.
      dropout_broadcast_dims: axes of [batch, *shape, d_model] that share one
        dropout mask.
      mode: 'train', 'eval' or 'predict'; dropout is active in 'train'. In
        'predict' the state counts the positions so far.

    Raises:
      ReformerError: axes that do not match.
    """
    super().__init__()
    check_mode('AxialPositionalEncoding', mode)
    shape, d_embs = tuple(shape), tuple(d_embs)
    check(
      len(shape) == len(d_embs),
      f'pos_axial_shape is {shape} and pos_d_axial_embs is {d_embs}: give both '
      'the same number of axes',
    )
    check(
      all(isinstance(n, int) and n >= 1 for n in shape + d_embs),
      f'pos_axial_shape is {shape} and pos_d_axial_embs is {d_embs}: give ints '
      'of at least 1',
    )
    check(0 <= dropout < 1, f'dropout is {dropout}: give a rate in [0, 1)')
    self._shape, self._d_embs = shape, d_embs
    self._initializer = kernel_initializer or tl.RandomNormalInitializer(1.0)
    self._dropout = dropout if mode == 'train' else 0.0
    self._dropout_broadcast_dims = dropout_broadcast_dims
    self._predict = mode == 'predict'

  def init_weights_and_state(self, input_signature):
    d_model = input_signature.shape[-1]
    check(
      sum(self._d_embs) == d_model,
      f'pos_d_axial_embs is {self._d_embs}, with the sum {sum(self._d_embs)}: '
      f'it must sum to d_model, {d_model}',
    )
    weights = []
    rngs = jax.random.split(self.rng, len(self._d_embs))
    for axis, (rng, depth) in enumerate(zip(rngs, self._d_embs, strict=True)):
      shape = [1] * len(self._shape)
      shape[axis] = self._shape[axis]
      weights.append(self._initializer((1, *shape, depth), rng))
    self.weights = tuple(weights)
    if self._predict:
      self.state = Prompt()

  def forward(self, x):
    length = x.shape[1]
    first, *rest = self._shape
    row = math.prod(rest)
    check(
      length <= first * row,
      f'pos_axial_shape is {self._shape}, for inputs of up to {first * row} '
      f'positions, but the input has {length}: raise it or shorten the input',
    )
    if self._predict:
      positions, self.state = _next_positions(self.state, x)
      encoding = self._encoding_at(positions)
      return x + encoding.astype(x.dtype)
    n_rows = -(-length // row)
    parts = [self.weights[0][:, :n_rows], *self.weights[1:]]
    shape = (1, n_rows, *rest)
    encoding = jnp.concatenate(
      [jnp.broadcast_to(p, shape + p.shape[-1:]) for p in parts], axis=-1
    )
    if self._dropout:
      noise = [x.shape[0], *shape[1:], x.shape[-1]]
      for axis in self._dropout_broadcast_dims:
        noise[axis] = 1
      keep = jax.random.bernoulli(self.rng, 1 - self._dropout, tuple(noise))
      encoding = encoding * (keep / (1 - self._dropout))
    encoding = encoding.reshape(encoding.shape[0], -1, x.shape[-1])
    return x + encoding[:, :length].astype(x.dtype)

  def _encoding_at(self, positions):
    """[batch, n] -> [batch, n, d_model]; NaN beyond the longest input."""
    parts, stride = [], math.prod(self._shape)
    for axis, (weights, n) in enumerate(
      zip(self.weights, self._shape, strict=True)
    ):
      stride //= n
      index = positions // stride
      index = index % n if axis else index
      table = weights.reshape(n, -1)
      parts.append(jnp.take(table, index, axis=0, mode='fill'))
    return jnp.concatenate(parts, axis=-1)


def _next_positions(state, x):
  """Positions [batch, length] of x [batch, length, d], and the next state.

  Args:
    state: Prompt, or int32 [batch], positions before x.
    x: float [batch, length, d].
  """
  n = jnp.arange(x.shape[1], dtype=jnp.int32)
  if isinstance(state, Prompt):
    return jnp.broadcast_to(n, x.shape[:2]), state.of(x)
  return state[:, None] + n, state + x.shape[1]

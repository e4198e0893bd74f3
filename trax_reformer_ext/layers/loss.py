"""Loss and metrics, with and without logits in memory."""

import math

import jax.numpy as jnp
from trax import layers as tl
from trax.layers import base

from trax_reformer_ext.layers._common import check, configurable
from trax_reformer_ext.ops.chunks import pad_to_multiple
from trax_reformer_ext.ops.cross_entropy import (
  chunked_cross_entropy,
  map_logits,
)


class SlicedLogits(base.Layer):
  """The projection to the vocabulary, left for the loss to compute in slices.

  Holds trax.layers.Dense's weights at its place, and maps [batch, length, d]
  to (x [n_slices, batch, slice, d], kernel [d, vocab_size], bias
  [vocab_size]); the matching loss multiplies slice by slice. The last slice is
  padded with zeros.
  """

  def __init__(self, vocab_size, chunk_size):
    super().__init__(n_in=1, n_out=3, name=f'SlicedLogits_{vocab_size}')
    self._dense = tl.Dense(vocab_size)
    self._chunk_size = chunk_size

  def init_weights_and_state(self, input_signature):
    self.weights, _ = self._dense.init(input_signature, rng=self.rng)

  def forward(self, x):
    kernel, bias = self.weights
    size = min(self._chunk_size, x.shape[1])
    return _slices(x, size), kernel, bias


@configurable
def ChunkedCrossEntropyLoss():
  """Returns the mean cross-entropy of a model with loss_chunk_size > 0.

  Projection, softmax and cross-entropy of one slice at a time: no [length,
  vocab_size] array exists, forward or backward. Value and gradients equal
  trax.layers.WeightedCategoryCrossEntropy's.

  Returns:
    A layer that maps (x, kernel, bias, targets, weights) to a scalar in nats;
    the first three are the model's outputs, targets int [batch, length] and
    weights float [batch, length].
  """

  def loss(x, kernel, bias, targets, weights):
    total = chunked_cross_entropy(
      x, kernel, bias, _like(x, targets), _like(x, weights)
    )
    return total / jnp.sum(weights)

  return base.Fn('ChunkedCrossEntropyLoss', loss)


def _chunked_accuracy():
  def accuracy(x, kernel, bias, targets, weights):
    correct = map_logits(
      lambda logits, targets: jnp.argmax(logits, axis=-1) == targets,
      *(x, kernel, bias, _like(x, targets)),
    )
    return jnp.sum(correct * _like(x, weights)) / jnp.sum(weights)

  return base.Fn('ChunkedAccuracy', accuracy)


def _weights_sum(n_in):
  drop = [tl.Drop() for _ in range(n_in - 1)]
  return tl.Serial(*drop, tl.Sum())


def _in_bits(loss):
  scale = base.Fn('NatsToBits', lambda nats: nats / math.log(2))
  return tl.Serial(loss, scale)


@configurable
def Metrics(chunked=False):
  """Returns the metrics of a language model, for train.metrics.

  Args:
    chunked: bool, for a model with loss_chunk_size > 0.

  Returns:
    Dictionary from name to layer: Trax's defaults (loss in nats, accuracy,
    neg_log_perplexity, weights_per_batch_per_core and, unless chunked,
    sequence_accuracy) and bits_per_dim.
  """
  if chunked:
    loss, accuracy, n_in = ChunkedCrossEntropyLoss, _chunked_accuracy, 5
  else:
    loss, accuracy, n_in = (
      tl.WeightedCategoryCrossEntropy,
      tl.WeightedCategoryAccuracy,
      3,
    )
  metrics = {
    'loss': loss(),
    'bits_per_dim': _in_bits(loss()),
    'accuracy': accuracy(),
    'neg_log_perplexity': tl.Serial(loss(), tl.Negate()),
    'weights_per_batch_per_core': _weights_sum(n_in),
  }
  if not chunked:
    metrics['sequence_accuracy'] = tl.MaskedSequenceAccuracy()
  return metrics


def _slices(x, size):
  """[batch, length, ...] -> [n_slices, batch, size, ...]."""
  x = pad_to_multiple(x, size, 1)
  x = x.reshape((x.shape[0], -1, size) + x.shape[2:])
  return jnp.moveaxis(x, 1, 0)


def _like(x, y):
  """Cuts y [batch, length] as the model cut x; the padding gets zeros."""
  check(
    x.ndim == 4,
    f'train.loss_fn got outputs of shape {x.shape}: ChunkedCrossEntropyLoss '
    'needs a model with loss_chunk_size > 0',
  )
  return _slices(y, x.shape[2])

"""Trax layers of the Reformer, registered with gin as trax_reformer_ext.*."""

from trax_reformer_ext.layers.attention import LSHSelfAttention, SelfAttention
from trax_reformer_ext.layers.batching import MicroBatches
from trax_reformer_ext.layers.chunked import (
  Chunked,
  ChunkedDense,
  ChunkedFeedForward,
)
from trax_reformer_ext.layers.loss import (
  ChunkedCrossEntropyLoss,
  Metrics,
  SlicedLogits,
)
from trax_reformer_ext.layers.position import (
  AxialPositionalEncoding,
  PositionalEncoding,
)
from trax_reformer_ext.layers.reversible import (
  ReversibleHalfResidual,
  ReversibleSerial,
  ReversibleSwap,
  drop_buckets,
)

__all__ = [
  'AxialPositionalEncoding',
  'Chunked',
  'ChunkedCrossEntropyLoss',
  'ChunkedDense',
  'ChunkedFeedForward',
  'LSHSelfAttention',
  'Metrics',
  'MicroBatches',
  'PositionalEncoding',
  'ReversibleHalfResidual',
  'ReversibleSerial',
  'ReversibleSwap',
  'SelfAttention',
  'SlicedLogits',
  'drop_buckets',
]

"""Trax layers of the Reformer, registered with gin as trax_reformer_ext.*."""

from trax_reformer_ext.layers.attention import SelfAttention
from trax_reformer_ext.layers.batching import MicroBatches
from trax_reformer_ext.layers.chunked import (
  Chunked,
  ChunkedDense,
  ChunkedFeedForward,
)
from trax_reformer_ext.layers.enc_dec_attention import EncDecAttention
from trax_reformer_ext.layers.inside import inputs_of
from trax_reformer_ext.layers.loss import (
  ChunkedCrossEntropyLoss,
  Metrics,
  SlicedLogits,
)
from trax_reformer_ext.layers.lsh_attention import Hashed, LSHSelfAttention
from trax_reformer_ext.layers.per_source import OncePerSource, PerSource
from trax_reformer_ext.layers.position import (
  AxialPositionalEncoding,
  PositionalEncoding,
  SinusoidalInitializer,
)
from trax_reformer_ext.layers.prompt import Prompt, with_prompt_lengths
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
  'EncDecAttention',
  'Hashed',
  'LSHSelfAttention',
  'Metrics',
  'MicroBatches',
  'OncePerSource',
  'PerSource',
  'PositionalEncoding',
  'Prompt',
  'ReversibleHalfResidual',
  'ReversibleSerial',
  'ReversibleSwap',
  'SelfAttention',
  'SinusoidalInitializer',
  'SlicedLogits',
  'drop_buckets',
  'inputs_of',
  'with_prompt_lengths',
]

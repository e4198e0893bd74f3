"""The Reformer (Kitaev, Kaiser, Levskaya 2020) as an extension of Trax.

Importing the package makes Trax 1.4.1 work with current JAX and registers
every public name with gin as trax_reformer_ext.<Name>.
"""

from trax_reformer_ext import trax_compat

trax_compat.apply()  # before anything else imports Trax

# ruff: noqa: E402
from trax_reformer_ext.data import (
  duplication_inputs,
  image_inputs,
  text_inputs,
  translation_inputs,
)
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.layers import (
  AxialPositionalEncoding,
  ChunkedCrossEntropyLoss,
  ChunkedDense,
  ChunkedFeedForward,
  EncDecAttention,
  LSHSelfAttention,
  Metrics,
  ReversibleHalfResidual,
  ReversibleSerial,
  ReversibleSwap,
  SelfAttention,
  SinusoidalInitializer,
)
from trax_reformer_ext.models import Reformer, ReformerLM
from trax_reformer_ext.training.conversion import load_model

__all__ = [
  'AxialPositionalEncoding',
  'ChunkedCrossEntropyLoss',
  'ChunkedDense',
  'ChunkedFeedForward',
  'EncDecAttention',
  'LSHSelfAttention',
  'Metrics',
  'Reformer',
  'ReformerError',
  'ReformerLM',
  'ReversibleHalfResidual',
  'ReversibleSerial',
  'ReversibleSwap',
  'SelfAttention',
  'SinusoidalInitializer',
  'duplication_inputs',
  'image_inputs',
  'load_model',
  'text_inputs',
  'translation_inputs',
]
__version__ = '0.1.0'

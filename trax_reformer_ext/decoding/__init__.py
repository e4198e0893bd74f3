"""Sequences from trained models."""

from trax_reformer_ext.decoding.beam_search import beam_search
from trax_reformer_ext.decoding.generate import Generator
from trax_reformer_ext.decoding.teacher_forcing import cached_logits
from trax_reformer_ext.decoding.translate import (
  longest_sequence,
  translate_lines,
  translator,
)

__all__ = [
  'Generator',
  'beam_search',
  'cached_logits',
  'longest_sequence',
  'translate_lines',
  'translator',
]

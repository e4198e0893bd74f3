"""Text from trained models."""

from trax_reformer_ext.decoding.beam_search import beam_search
from trax_reformer_ext.decoding.sample import sample

__all__ = ['beam_search', 'sample']

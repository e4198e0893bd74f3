"""Text from trained models."""

from trax_reformer_ext.decoding.sample import sample

__all__ = ['sample']

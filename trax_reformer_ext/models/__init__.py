"""Models made of the package's layers."""

from trax_reformer_ext.models.reformer_lm import ReformerLM

__all__ = ['ReformerLM']

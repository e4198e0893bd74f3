"""Models made of the package's layers."""

from trax_reformer_ext.models.reformer import Reformer
from trax_reformer_ext.models.reformer_lm import ReformerLM

__all__ = ['Reformer', 'ReformerLM']

"""Data sets and the streams that turn them into Trax batches."""

from trax_reformer_ext.data.text import text_inputs

__all__ = ['text_inputs']

"""Data sets and the streams that turn them into Trax batches."""

from trax_reformer_ext.data import builders
from trax_reformer_ext.data.duplication import duplication_inputs
from trax_reformer_ext.data.images import image_inputs
from trax_reformer_ext.data.text import text_inputs
from trax_reformer_ext.data.translation import translation_inputs

# Importing builders registers them with TFDS.
__all__ = [
  'builders',
  'duplication_inputs',
  'image_inputs',
  'text_inputs',
  'translation_inputs',
]

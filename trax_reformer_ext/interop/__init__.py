"""Models in the formats of other libraries.

Every format is read into a Description and written from one.
"""

from trax_reformer_ext.interop.description import Description, build

__all__ = ['Description', 'build']

"""Imports the package first, which makes importing Trax much faster."""

import trax_reformer_ext  # noqa: F401

"""Choices by platform."""

import jax
import pytest

from trax_reformer_ext.ops import platforms


@pytest.mark.parametrize('backend,mib', [('cpu', 4), ('gpu', 64), ('tpu', 64)])
def test_accelerators_compute_more_scores_at_once(backend, mib, monkeypatch):
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  assert platforms.scores_bytes() == mib * 2**20

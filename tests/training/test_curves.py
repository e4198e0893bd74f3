import math

import pytest

from trax_reformer_ext import ReformerError
from trax_reformer_ext.training import checkpoints, curves
from trax_reformer_ext.training.saving import history_of

BITS = 'metrics/bits_per_dim'


def test_bits_are_taken_where_there_are_some():
  history = history_of(
    {
      'train': {BITS: [(1, 8.0), (2, 4.0)], 'training/loss': [(1, 0.0)]},
      'eval': {BITS: [(2, 3.0)], 'metrics/loss': [(2, 0.0)]},
    }
  )
  assert curves.curves_of(history) == {
    'training': [(1, 8.0), (2, 4.0)],
    'held-out': [(2, 3.0)],
  }


def test_otherwise_losses_become_bits():
  history = history_of(
    {
      'train': {'training/loss': [(1, math.log(2))]},
      'eval': {'metrics/loss': [(1, math.log(4))]},
    }
  )
  assert curves.curves_of(history) == {
    'training': [(1, pytest.approx(1))],
    'held-out': [(1, pytest.approx(2))],
  }


def test_a_run_that_has_measured_nothing(monkeypatch):
  monkeypatch.setattr(checkpoints, 'find_last', lambda folder, say: 1)
  monkeypatch.setattr(
    checkpoints, 'read_run', lambda folder, step: {'history': {}}
  )
  with pytest.raises(
    ReformerError, match="RUN is 'x', whose checkpoint has no"
  ):
    curves.curves_of_run('x', "RUN is 'x'")

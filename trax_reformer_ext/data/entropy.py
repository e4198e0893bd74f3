"""Entropies of bytes: what a model has to beat."""

import numpy as np


def entropies(data):
  """Order-0 and order-1 entropy of a text, in bits per byte.

  Of the empirical distribution of these very bytes: H(X_t) and
  H(X_t | X_{t-1}).

  Args:
    data: uint8 [n_bytes], at least 2.

  Returns:
    (order_0, order_1).
  """
  pairs = np.zeros((256, 256), np.int64)
  np.add.at(pairs, (data[:-1], data[1:]), 1)
  single = np.bincount(data, minlength=256)
  return _entropy(single), _entropy(pairs) - _entropy(pairs.sum(axis=1))


def _entropy(counts):
  p = counts[counts > 0] / counts.sum()
  return float(-np.sum(p * np.log2(p)))

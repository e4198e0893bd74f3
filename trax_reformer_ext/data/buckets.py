"""Which pairs of texts make up the n-th batch, by their lengths.

Pairs of similar length share a bucket and are padded to its length, so that a
fixed and small set of shapes is compiled.
"""

import bisect
import functools
import itertools

import numpy as np

from trax_reformer_ext.data.streams import Permutation


class Buckets:
  """Batches of pairs, each batch from one bucket.

  Every bucket has its own number of rows in a batch, constant like its length.
  In an epoch a bucket gives the least number of batches that hold its pairs;
  what is missing in its last batch is filled up from its first one.

  Attributes:
    n_batches: int, batches in an epoch.
  """

  def __init__(self, sizes, lengths, rows):
    """Sorts the pairs into buckets.

    Args:
      sizes: int [n_pairs], the greater length of a pair; 0 for pairs to leave
        out. A pair longer than the last bucket is in the last one.
      lengths: list of int, ascending: lengths of the buckets.
      rows: list of int, pairs in a batch of each bucket.
    """
    bucket = np.minimum(np.searchsorted(lengths, sizes), len(lengths) - 1)
    bucket[sizes == 0] = -1
    self._members = [np.flatnonzero(bucket == b) for b in range(len(lengths))]
    self._lengths, self._rows = lengths, rows
    n_batches = [
      -(-len(members) // n)
      for members, n in zip(self._members, rows, strict=True)
    ]
    self._ends = list(itertools.accumulate(n_batches))
    self.n_batches = self._ends[-1]
    # Of this epoch, and of one that is being left.
    self._order = functools.lru_cache(maxsize=2 * len(lengths) + 2)(
      lambda n, *key: Permutation(n, *key)
    )

  def batch(self, seed, epoch, i):
    """The i-th batch of an epoch, in an order of that epoch.

    Args:
      seed: int.
      epoch: int.
      i: int in [0, n_batches).

    Returns:
      (int length to pad to, int array [rows] of the numbers of pairs).
    """
    place = self._order(self.n_batches, seed, epoch)[i]
    bucket = bisect.bisect_right(self._ends, place)
    members, rows = self._members[bucket], self._rows[bucket]
    start = (place - (self._ends[bucket - 1] if bucket else 0)) * rows
    order = self._order(len(members), seed, epoch, bucket)
    chosen = [order[(start + r) % len(members)] for r in range(rows)]
    return self._lengths[bucket], members[chosen]

  def in_order(self):
    """Yields all batches once, bucket by bucket and in the order of the pairs.

    Yields:
      (int length to pad to, int rows, int array [at most rows] of the numbers
      of pairs).
    """
    for members, length, rows in zip(
      self._members, self._lengths, self._rows, strict=True
    ):
      for start in range(0, len(members), rows):
        yield length, rows, members[start : start + rows]

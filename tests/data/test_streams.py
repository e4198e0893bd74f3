import hashlib
import itertools
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trax_reformer_ext.data import streams


class Counting:
  """Tokens 0, 1, 2, ..., which know how often they were read."""

  def __init__(self, n):
    self.n, self.n_reads = n, 0

  def __len__(self):
    return self.n

  def read(self, start, n):
    assert 0 <= start and start + n <= self.n
    self.n_reads += 1
    return np.arange(start, start + n, dtype=np.int32)


def take(n, generator):
  return list(itertools.islice(generator, n))


@given(n=st.integers(1, 3000), seed=st.integers(), epoch=st.integers(0, 99))
def test_a_permutation_is_a_bijection(n, seed, epoch):
  order = streams.Permutation(n, seed, epoch)
  assert sorted(order) == list(range(n)) and len(order) == n


def test_a_permutation_looks_random():
  """Places are uniform, and neighbours are strangers."""
  n, n_keys = 10, 5000
  counts = np.zeros((n, n))
  for key in range(n_keys):
    for i, j in enumerate(streams.Permutation(n, key)):
      counts[i, j] += 1
  expected = n_keys / n
  chi_squared = ((counts - expected) ** 2 / expected).sum()
  assert chi_squared < 81 + 5 * np.sqrt(2 * 81)
  order = np.array(list(streams.Permutation(10_000, 1)))
  assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.04


def test_a_permutation_of_any_size_is_small_and_quick():
  order = streams.Permutation(2**62, 1)
  assert len({order[i] for i in range(1000)}) == 1000
  with pytest.raises(IndexError):
    order[2**62]


@given(
  n_tokens=st.integers(7, 200),
  length=st.integers(1, 7),
  seed=st.integers(0, 99),
  epoch=st.integers(0, 9),
)
def test_windows_of_an_epoch_lie_side_by_side(n_tokens, length, seed, epoch):
  windows = streams.Windows(Counting(n_tokens), length, seed)
  rows = [windows.read(epoch, i) for i in range(len(windows))]
  ids = np.concatenate(rows)
  offset = windows.offset(epoch)
  np.testing.assert_array_equal(ids, np.arange(offset, offset + len(ids)))
  assert offset < length and n_tokens - len(ids) < 3 * length


def test_offsets_take_every_value():
  windows = streams.Windows(Counting(1000), 8, seed=3)
  assert {windows.offset(epoch) for epoch in range(200)} == set(range(8))


def test_without_a_seed_windows_start_at_the_first_token():
  windows = streams.Windows(Counting(26), 5)
  assert len(windows) == 5 and windows.offset(7) == 0


@pytest.mark.parametrize('batch_size', [1, 4, 7, 60])
@pytest.mark.parametrize('seed', [None, 0])
def test_every_window_comes_once_an_epoch(batch_size, seed):
  windows = streams.Windows(Counting(203), 8, seed)
  n = len(windows)
  batches = take(
    -(-3 * n // batch_size), streams.shuffled(windows, batch_size, 1)
  )
  rows = np.concatenate(batches)
  orders = []
  for epoch in range(3):
    part = rows[epoch * n : (epoch + 1) * n]
    whole = [windows.read(epoch, i) for i in range(n)]
    np.testing.assert_array_equal(part[np.argsort(part[:, 0])], whole)
    orders.append(tuple(np.argsort(part[:, 0])))
  assert len(set(orders)) == 3


def test_without_reshuffling_epochs_are_alike():
  windows = streams.Windows(Counting(64), 8)
  rows = np.concatenate(
    take(2, streams.shuffled(windows, 8, 1, reshuffle=False))
  )
  np.testing.assert_array_equal(rows[:8], rows[8:])


def test_the_seed_determines_the_order():
  windows = streams.Windows(Counting(1000), 8)
  first, again, other = (
    next(streams.shuffled(windows, 8, seed)) for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(first, again)
  assert not np.array_equal(first, other)


@given(
  n_tokens=st.integers(5, 300),
  batch_size=st.integers(1, 9),
  number=st.integers(0, 50),
)
def test_any_batch_can_be_the_first(n_tokens, batch_size, number):
  tokens = Counting(n_tokens)
  windows = streams.Windows(tokens, 5, seed=1)
  batches = take(number + 1, streams.shuffled(windows, batch_size, 2))
  tokens.n_reads = 0
  resumed = next(streams.shuffled(windows, batch_size, 2, first=number))
  np.testing.assert_array_equal(resumed, batches[number])
  assert tokens.n_reads == batch_size  # and none of what was consumed


@pytest.mark.parametrize('n_hosts', [1, 2, 3, 6])
def test_hosts_divide_every_batch_among_them(n_hosts):
  windows = streams.Windows(Counting(500), 8, seed=1)
  whole = take(20, streams.shuffled(windows, 6, 2))
  parts = [
    take(20, streams.shuffled(windows, 6, 2, host_id=h, n_hosts=n_hosts))
    for h in range(n_hosts)
  ]
  for batch, *rows in zip(whole, *parts, strict=True):
    assert all(len(r) == 6 // n_hosts for r in rows)
    np.testing.assert_array_equal(batch, np.concatenate(rows))


@given(
  n=st.integers(1, 200), length=st.integers(1, 20), batch_size=st.integers(1, 9)
)
def test_in_order_every_token_comes_once(n, length, batch_size):
  batches = list(streams.in_order(Counting(n), length, batch_size))
  ids, weights = (np.concatenate([b[k] for b in batches]) for k in (0, 1))
  assert ids.shape == weights.shape and ids.shape[1] == length
  np.testing.assert_array_equal(ids[weights > 0], np.arange(n))
  assert weights.sum() == n and not ids[weights == 0].any()


def prefetching():
  return [t for t in threading.enumerate() if t.name == 'prefetch']


@pytest.mark.parametrize('size', [0, 1, 2, 5])
def test_prefetching_changes_nothing_and_ends_its_thread(size):
  windows = streams.Windows(Counting(500), 8, seed=1)
  make = lambda: streams.shuffled(windows, 4, 2)
  batches = streams.prefetch(make(), size)
  np.testing.assert_array_equal(take(30, batches), take(30, make()))
  assert len(prefetching()) == (size > 0)
  batches.close()
  assert not prefetching()


def test_a_forgotten_prefetch_ends_its_thread():
  batches = streams.prefetch((i for i in itertools.count()), 2)
  assert take(3, batches) == [0, 1, 2] and prefetching()
  del batches
  assert not prefetching()


def test_closing_where_a_lock_is_held_that_the_thread_needs_ends_too():
  lock = threading.Lock()

  def locking():
    for i in itertools.count():
      with lock:
        pass
      yield i

  batches = streams.prefetch(locking(), 1)
  take(2, batches)
  with lock:
    next(batches)
    time.sleep(0.1)  # until the thread waits for the lock
    batches.close()  # as the garbage collector may at any place
    assert prefetching()
  for _ in range(100):
    if not prefetching():
      break
    time.sleep(0.02)
  assert not prefetching()


def test_prefetching_ends_where_the_batches_end():
  assert list(streams.prefetch((i for i in range(7)), 3)) == list(range(7))
  assert not prefetching()


def test_an_exception_of_the_thread_is_raised_at_its_place():
  def fail():
    yield 1
    yield 2
    raise OSError('the disk is gone')

  batches = streams.prefetch(fail(), 5)
  assert [next(batches), next(batches)] == [1, 2]
  with pytest.raises(OSError, match='the disk is gone'):
    next(batches)
  assert not prefetching()


def test_prefetching_makes_no_more_than_was_asked_for():
  made = []
  batches = streams.prefetch((made.append(i) or i for i in range(100)), 3)
  take(10, batches)
  batches.close()
  assert len(made) <= 10 + 3 + 2


def test_batches_are_the_same_bytes_everywhere():
  """On every Python, numpy and machine; a change breaks runs that go on."""
  windows = streams.Windows(Counting(100_003), 64, seed=5)
  digest = hashlib.sha256()
  for batch in take(500, streams.shuffled(windows, 7, seed=-1)):
    assert batch.dtype == np.int32
    digest.update(batch.astype('<i4').tobytes())
  assert digest.hexdigest().startswith('934c0429c9d9')

import hashlib
import itertools

import gin
import numpy as np
import pytest

from trax_reformer_ext import ReformerError, duplication_inputs
from trax_reformer_ext.data.duplication import DuplicationTokens


def take(n, stream):
  return list(itertools.islice(stream, n))


def test_examples_are_twice_the_same_word():
  inputs = duplication_inputs(length=32, n_symbols=5, batch_size=4)
  words = set()
  for ids, targets, weights in take(50, inputs.train_stream(1)):
    assert ids.shape == targets.shape == weights.shape == (4, 32)
    assert ids.dtype == np.int32 and weights.dtype == np.float32
    np.testing.assert_array_equal(ids, targets)
    np.testing.assert_array_equal(ids[:, :16], ids[:, 16:])
    assert not ids[:, 0].any()
    assert ids[:, 1:16].min() >= 1 and ids.max() <= 5
    words |= {tuple(row) for row in ids}
    # The second word alone, without the 0 before it.
    np.testing.assert_array_equal(weights, np.tile(np.arange(32) > 16, (4, 1)))
  assert len(words) == 200


def test_symbols_are_uniform():
  tokens = DuplicationTokens(1024, 127, 200, key=3)
  counts = np.bincount(tokens.read(0, 1024 * 200), minlength=128)
  assert counts[0] == 400
  expected = 200 * 1022 / 127
  # Each symbol is drawn expected / 2 times, and copied.
  chi_squared = ((counts[1:] - expected) ** 2 / (2 * expected)).sum()
  assert chi_squared < 126 + 5 * np.sqrt(2 * 126)


def test_any_range_can_be_read():
  tokens = DuplicationTokens(10, 9, 30, key=1)
  whole = tokens.read(0, len(tokens))
  assert len(whole) == 300
  for start, n in itertools.product((0, 1, 7, 10, 33), (1, 9, 10, 25)):
    np.testing.assert_array_equal(
      tokens.read(start, n), whole[start : start + n]
    )


def test_splits_and_seeds_share_no_example():
  def rows(batches):
    return {tuple(row) for batch in batches for row in batch[0]}

  parts = []
  for seed in (0, 1):
    inputs = duplication_inputs(length=32, seed=seed, n_eval_examples=16)
    parts.append(rows(take(20, inputs.train_stream(1))))
    parts += [
      rows(inputs.split_batches(split)) for split in ('validation', 'test')
    ]
  assert len(set.union(*parts)) == sum(map(len, parts)) == 2 * (160 + 16 + 16)


@pytest.mark.parametrize('n_eval_examples', [1, 8, 13])
def test_a_split_is_finite_and_padding_has_no_weight(n_eval_examples):
  inputs = duplication_inputs(
    length=8, eval_batch_size=4, n_eval_examples=n_eval_examples
  )
  for split in ('train', 'validation', 'test'):
    batches = list(inputs.split_batches(split))
    ids, weights = (np.concatenate([b[k] for b in batches]) for k in (0, 2))
    assert weights.sum() == 3 * n_eval_examples
    assert (weights.sum(axis=1) > 0).sum() == n_eval_examples
    assert not ids[n_eval_examples:].any()


def test_evaluation_is_the_same_again():
  inputs = duplication_inputs(length=8, n_eval_examples=16)
  first, again = take(2, inputs.eval_stream(1))
  other = next(inputs.eval_stream(1))
  np.testing.assert_array_equal(first[0], other[0])
  rows = lambda *batches: sorted(tuple(r) for b in batches for r in b[0])
  assert rows(first, again) == rows(*inputs.split_batches('validation'))


def test_hosts_and_numbers_of_batches():
  whole = duplication_inputs(length=8, batch_size=6, prefetch=0)
  batches = take(4, whole.train_stream(1))
  parts = [
    duplication_inputs(length=8, batch_size=6, host_id=h, n_hosts=3)
    for h in range(3)
  ]
  third = [next(p.train_batches(first=3))[0] for p in parts]
  np.testing.assert_array_equal(np.concatenate(third), batches[3][0])


def test_batches_are_the_same_bytes_everywhere():
  inputs = duplication_inputs(seed=7)
  digest = hashlib.sha256()
  for ids, _, _ in take(20, inputs.train_stream(1)):
    digest.update(ids.astype('<i4').tobytes())
  assert digest.hexdigest().startswith('f5b28b38c4c1')


@pytest.mark.parametrize(
  'arguments,message',
  [
    ({'length': 33}, 'length is 33: give an even int of at least 4'),
    ({'length': 2}, 'length is 2: give an even int of at least 4'),
    ({'n_symbols': 0}, 'n_symbols is 0: give an int of at least 1'),
    ({'n_eval_examples': 1.5}, 'n_eval_examples is 1.5: give an int'),
    ({'host_id': 2, 'n_hosts': 2}, 'host_id is 2, with n_hosts 2'),
  ],
)
def test_what_is_not_possible_is_refused(arguments, message):
  with pytest.raises(ReformerError, match=f'duplication_inputs.{message}'):
    duplication_inputs(**arguments)


def test_gin_knows_it():
  with gin.unlock_config():
    gin.bind_parameter('trax_reformer_ext.duplication_inputs.length', 16)
    try:
      assert next(duplication_inputs().train_stream(1))[0].shape == (8, 16)
    finally:
      gin.clear_config()

"""Batches of pairs of sentences."""

import itertools
import math
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tests.data import parallel
from trax_reformer_ext import ReformerError, cli, translation_inputs
from trax_reformer_ext.data.translation import TranslationInputs

N = 400


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  """Pairs of which every tenth has an empty source."""
  folder = tmp_path_factory.mktemp('translation')
  lines = [
    line if i % 10 else ''
    for i, line in enumerate(parallel.sentences('en', N, longest=40))
  ]
  source = parallel.write(folder / 'train.en', lines)
  target = parallel.write(folder / 'train.de', parallel.sentences('de', N))
  arguments = [*parallel.flags(source, target), parallel.SMALL]
  arguments.append(f'--data_dir={folder / "data"}')
  assert cli.main(['prepare', 'translation', *arguments]) == 0
  return str(folder / 'data')


def _inputs(data_dir, **parameters):
  defaults = dict(batch_tokens=200, bucket_lengths=(8, 16, 32), max_length=128)
  return translation_inputs(data_dir=data_dir, **{**defaults, **parameters})


def _decoded(inputs, batch):
  """The pairs of texts in a batch."""
  decode = inputs.vocabulary.decode
  return [
    (decode(source), decode(target))
    for source, target in zip(*batch[:2], strict=True)
  ]


def _epoch(inputs, number=0):
  batches = inputs.train_batches()
  n = inputs.batches_per_epoch
  batches.seek(number * n)
  return list(itertools.islice(batches, n))


def test_a_batch_is_padded_to_one_of_few_shapes(data_dir):
  inputs = _inputs(data_dir)
  batches = _epoch(inputs)
  shapes = {batch[0].shape for batch in batches}
  assert shapes == {(25, 8), (12, 16), (6, 32), (1, 128)}
  for source, target, weights in batches:
    assert source.shape == target.shape == weights.shape
    assert source.dtype == target.dtype == np.int32
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights, target != 0)
    for ids in (source, target):
      ends = np.argmax(ids == 1, axis=1)
      for row, end in zip(ids, ends, strict=True):
        assert row[end] == 1 and not row[end + 1 :].any() and row[:end].all()
    longest = max((x != 0).sum(axis=1).max() for x in (source, target))
    assert longest > {8: 0, 16: 8, 32: 16, 128: 32}[source.shape[1]]


def test_an_epoch_has_every_pair_that_has_two_sides(data_dir):
  inputs = _inputs(data_dir)
  whole = [pair for pair in inputs.pairs('train') if all(pair)]
  assert len(whole) == 0.9 * len(inputs.pairs('train')) == 0.81 * N
  epochs = [_epoch(inputs, number) for number in (0, 1)]
  orders = []
  for batches in epochs:
    pairs = [p for batch in batches for p in _decoded(inputs, batch)]
    assert set(pairs) == set(whole)
    filled_up = len(pairs) - len(whole)
    rows_of_a_batch = {x[0].shape[0] for x in batches}
    assert 0 <= filled_up < sum(rows_of_a_batch)
    orders.append(pairs)
  assert orders[0] != orders[1]


def test_batches_depend_on_seed_and_number_alone(data_dir):
  inputs = _inputs(data_dir, seed=1)
  n = 2 * inputs.batches_per_epoch
  batches = list(itertools.islice(inputs.train_stream(1), n + 1))
  again = _inputs(data_dir, seed=1, prefetch=0).train_batches(first=n)
  np.testing.assert_array_equal(batches[n], next(again))
  again.seek(3)
  np.testing.assert_array_equal(batches[3], next(again))
  other = _inputs(data_dir, seed=2).train_batches()
  pairs = [_decoded(inputs, x) for x in (batches[0], next(other))]
  assert pairs[0] != pairs[1]
  again.close()
  other.close()


@pytest.mark.parametrize('split', ['train', 'validation', 'test'])
def test_a_split_is_read_once(split, data_dir):
  inputs = _inputs(data_dir, eval_batch_tokens=100)
  expected = [
    pair for pair in inputs.pairs(split) if split != 'train' or all(pair)
  ]
  batches = list(inputs.split_batches(split))
  shapes = {batch[0].shape for batch in batches}
  assert shapes <= {(12, 8), (6, 16), (3, 32), (1, 128)}
  pairs = []
  for batch in batches:
    rows = batch[1].any(axis=1)
    assert not batch[0][~rows].any() and not batch[2][~rows].any()
    pairs += _decoded(inputs, [x[rows] for x in batch])
  assert sorted(pairs) == sorted(expected)
  with pytest.raises(ReformerError, match="split is 'all': give one of train"):
    inputs.split_batches('all')


def test_empty_sides_are_kept_where_lines_count(data_dir):
  inputs = _inputs(data_dir)
  assert [i for i, (source, _) in enumerate(inputs.pairs('test')) if not source]
  assert len(inputs.splits['test']) == len(inputs.pairs('test')) == N // 20
  assert inputs.pairs('train')[0][0] == '' != inputs.pairs('train')[0][1]
  assert inputs.pairs('train')[-1] == list(inputs.pairs('train'))[-1]
  with pytest.raises(IndexError):
    inputs.pairs('train')[N]


def test_evaluation_repeats_the_validation_pairs_in_a_fixed_order(data_dir):
  first, other = (_inputs(data_dir, seed=seed) for seed in (0, 1))
  n = len(list(first.split_batches('validation')))
  batches = list(itertools.islice(first.eval_stream(1), 2 * n))
  pairs = [_decoded(first, batch) for batch in batches]
  assert pairs[:n] == pairs[n:]
  assert {p for x in pairs for p in x} == set(first.pairs('validation'))
  for batch, again in zip(batches, other.eval_stream(1), strict=False):
    np.testing.assert_array_equal(batch, again)


def test_hosts_share_a_batch(data_dir):
  whole = next(_inputs(data_dir, n_hosts=1, batch_tokens=256).train_stream(1))
  parts = [
    next(
      _inputs(data_dir, n_hosts=2, host_id=i, batch_tokens=256).train_stream(1)
    )
    for i in (0, 1)
  ]
  for x, *shares in zip(whole, *parts, strict=True):
    np.testing.assert_array_equal(x, np.concatenate(shares))


def test_long_sentences_are_cut_with_a_warning_once(data_dir, capsys):
  inputs = _inputs(data_dir, max_length=20)
  _inputs(data_dir, max_length=20)
  err = capsys.readouterr().err
  warnings = [x for x in err.splitlines() if ' pairs of train in ' in x]
  assert len(warnings) == 1
  assert warnings[0].endswith('longer than max_length 20, and are cut')
  n_long = int(warnings[0].split()[1])
  batches = [x for x in _epoch(inputs) if x[0].shape[1] == 20]
  sources = np.unique(np.concatenate([x[0] for x in batches]), axis=0)
  encoded = inputs.vocabulary.encode(
    [text for pair in inputs.pairs('train') if all(pair) for text in pair]
  )
  longest = [
    max(map(len, pair))
    for pair in zip(encoded[::2], encoded[1::2], strict=True)
  ]
  assert n_long == sum(n > 20 for n in longest) > 0
  full = sources[sources[:, -1] != 0]
  assert len(full) and (full[:, -1] == 1).all()
  targets = np.concatenate([x[1] for x in batches])
  cut = targets[targets[:, -1] > 1]
  assert len(cut) and not (cut == 1).any()


def test_long_sentences_can_stop_the_training(data_dir):
  inputs = _inputs(data_dir)
  lengths = [
    max(len(ids) for ids in inputs.vocabulary.encode(pair)) * all(pair)
    for pair in inputs.pairs('train')
  ]
  number = next(i for i, n in enumerate(lengths, start=1) if n > 20)
  with pytest.raises(
    ReformerError,
    match=f'max_length is 20, but pair {number} of train in translation has '
    f'{lengths[number - 1]} tokens: give at least {max(lengths)}, or',
  ):
    _inputs(data_dir, max_length=20, too_long='stop')
  _inputs(data_dir, max_length=max(lengths), too_long='stop')


@pytest.mark.parametrize(
  'name,value,message',
  [
    ('too_long', 'drop', "is 'drop': give one of cut, stop"),
    ('batch_tokens', 0, 'is 0: give an int of at least 1'),
    ('eval_batch_tokens', -1, 'is -1: give an int of at least 1'),
    ('max_length', 2.0, 'is 2.0: give an int of at least 1'),
    ('bucket_lengths', (8, 0), r'\[1\] is 0: give an int of at least 1'),
    ('bucket_lengths', 8, 'is 8: give a list of ints'),
    ('n_hosts', 0, 'is 0: give an int of at least 1'),
    ('host_id', 1, 'is 1, with n_hosts 1: give an int in'),
    ('prefetch', None, 'is None: give an int of at least 0'),
    ('dataset_name', 'enwik8', "is 'enwik8': give translation, or a data set"),
    ('vocabulary', 'bpe7', "is 'bpe7': give one of unigram48, which are"),
    ('source_language', 'en', "is 'en': give one of source, target"),
  ],
)
def test_what_will_not_do_is_refused(name, value, message, data_dir):
  with pytest.raises(
    ReformerError, match=f'translation_inputs.{name}.*{message}'
  ):
    _inputs(data_dir, **{name: value})


def test_data_that_is_not_prepared_says_how_to_prepare_it(data_dir, tmp_path):
  with pytest.raises(
    ReformerError,
    match=f'is not prepared in {tmp_path}: run trax-reformer prepare '
    f'translation --data_dir={tmp_path} --source=FILE --target=FILE',
  ):
    _inputs(str(tmp_path))
  with pytest.raises(ReformerError, match=f'not with source={tmp_path}/other'):
    _inputs(data_dir, path=str(tmp_path / 'other'))


class _Texts(list):
  """Pairs of texts in memory."""

  def read(self, numbers):
    return [self[i] for i in numbers]


class _Spelled:
  """A vocabulary of one id for each character."""

  def encode(self, texts):
    return [[ord(c) for c in text] + [1] for text in texts]


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
  sizes=st.lists(
    st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=40
  ),
  batch_tokens=st.integers(1, 40),
  n_hosts=st.integers(1, 3),
  seed=st.integers(0, 2**32),
  epoch=st.integers(0, 3),
  data=st.data(),
)
def test_any_lengths_make_whole_epochs(
  sizes, batch_tokens, n_hosts, seed, epoch, data
):
  # Every pair can be told by its first character.
  texts = _Texts(
    (chr(100 + i) + 'x' * (a - 1), 'y' * b) for i, (a, b) in enumerate(sizes)
  )
  lengths = np.array(sizes) + 1
  splits = ('train', 'validation', 'test')
  hosts = [
    TranslationInputs(
      dict.fromkeys(splits, texts),
      dict.fromkeys(splits, lengths),
      _Spelled(),
      [4, 6, 10],
      batch_tokens,
      batch_tokens,
      seed=seed,
      host_id=host,
      n_hosts=n_hosts,
    )
    for host in range(n_hosts)
  ]
  n = hosts[0].batches_per_epoch
  seen = {}
  streams = [inputs.train_batches(epoch * n) for inputs in hosts]
  batches = [[next(x) for x in streams] for _ in range(n)]
  for shares in batches:
    source = np.concatenate([source for source, _, _ in shares])
    length = source.shape[1]
    rows = max(1, batch_tokens // n_hosts // length) * n_hosts
    assert source.shape == (rows, length)
    for first in source[:, 0]:
      seen.setdefault(length, []).append(first - 100)
  bucket = [next(n for n in (4, 6, 10) if n >= max(x)) for x in lengths]
  for length, numbers in seen.items():
    members = [i for i, n in enumerate(bucket) if n == length]
    rows = max(1, batch_tokens // n_hosts // length) * n_hosts
    counts = np.bincount(numbers, minlength=len(texts))
    assert set(numbers) == set(members)
    # Once, but for what fills the last batch up.
    n_batches = math.ceil(len(members) / rows)
    assert counts.sum() == n_batches * rows
    assert counts.max() - counts[members].min() <= 1
  assert sorted(seen) == sorted(set(bucket))
  k = data.draw(st.integers(0, n - 1))
  streams[0].seek(epoch * n + k)
  np.testing.assert_array_equal(next(streams[0]), batches[k][0])


def test_multi30k(real, tmp_path, capsys):
  folder = real / 'multi30k_en_de'
  pairs = [
    flag
    for prefix, name in (('', 'val'), ('test_', 'test_2016_flickr'))
    for flag in parallel.flags(
      folder / f'{name}.en.gz', folder / f'{name}.de.gz', prefix
    )
  ]
  size = 'trax_reformer_ext.train_vocabulary.vocab_size=500'
  command = [sys.executable, '-m', 'trax_reformer_ext', 'prepare']
  done = subprocess.run(
    [
      *(*command, 'translation', *pairs),
      *(f'--data_dir={tmp_path}', f'--config={size}'),
    ],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0 and done.stderr == ''
  assert '(500 ids)' in done.stdout
  inputs = translation_inputs(data_dir=str(tmp_path))
  assert len(inputs.pairs('train')) == 963 and len(inputs.pairs('test')) == 1000
  assert inputs.pairs('test')[0] == (
    'A man in an orange hat starring at something.',
    'Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt.',
  )
  batches = list(inputs.split_batches('test'))
  pairs = {p for batch in batches for p in _decoded(inputs, batch)}
  # Some characters are not in the small part that the vocabulary is from.
  known = {p for p in pairs if any(p) and '⁇' not in ''.join(p)}
  assert known <= set(inputs.pairs('test')) and len(known) > 900

"""Batches of pairs of sentences for a translation model."""

import functools
import itertools
import pathlib
import sys

import gin
import numpy as np

from trax_reformer_ext.data import streams
from trax_reformer_ext.data.buckets import Buckets
from trax_reformer_ext.data.inputs import SeekableInputs, check_sizes
from trax_reformer_ext.data.pairs import (
  description,
  find_builder,
  open_pairs,
  prepare_command,
)
from trax_reformer_ext.data.prepared_vocabulary import find_vocabulary
from trax_reformer_ext.data.vocabulary import END
from trax_reformer_ext.errors import ReformerError

_TOO_LONG = ('cut', 'stop')


@gin.configurable(module='trax_reformer_ext')
def translation_inputs(
  dataset_name='translation',
  data_dir=None,
  batch_tokens=4096,
  eval_batch_tokens=None,
  bucket_lengths=(16, 24, 32, 48, 64, 96, 128, 192, 256),
  max_length=256,
  too_long='cut',
  seed=0,
  path=None,
  vocabulary=None,
  source_language=None,
  target_language=None,
  host_id=0,
  n_hosts=1,
  prefetch=2,
):
  """Returns batches of pairs of sentences, for train.inputs.

  A batch is (source, target, weights): token ids int32 [rows, length] twice,
  each sentence ending in 1 and padded with 0, and weights float32 of the same
  shape, 0 where target is 0. The length is that of a bucket, the least that
  holds both sentences of every pair in it, and rows is batch_tokens // length:
  a bucket is one shape. Training reads every pair once an epoch, in a random
  order of its own, apart from some that fill up the last batch of a bucket; the
  n-th batch is a function of seed and n alone. Evaluation goes through the
  validation pairs in a fixed order, again and again.

  Args:
    dataset_name: 'translation', or a data set of TFDS with pairs of texts, such
      as 'wmt14_translate/de-en', written to data_dir by `trax-reformer
      prepare`.
    data_dir: str, where it was prepared; None for TFDS's default.
    batch_tokens: int, tokens in a training batch of all hosts at most, with
      padding, and with one pair for each host at least.
    eval_batch_tokens: int, the same in an evaluation batch; None for
      batch_tokens.
    bucket_lengths: ints, lengths to pad to; max_length is always the last one.
    max_length: int, tokens of a sentence, with the end.
    too_long: 'cut' longer sentences (a source still ends in 1, a target is
      not over and doesn't), or 'stop' with an error that names the first pair.
    seed: int, of the order.
    path: str, the source file that 'translation' was prepared from; None for
      the only one.
    vocabulary: str, which of several prepared ones, such as 'unigram8000'; None
      for the only one.
    source_language: str, the feature to translate from; None as prepared.
    target_language: str, the feature to translate to; None as prepared.
    host_id: int, this host.
    n_hosts: int; each trains on its own rows of a batch.
    prefetch: int, batches made ahead of time by a thread; 0 for none.

  Returns:
    TranslationInputs.

  Raises:
    ReformerError: data that is not prepared, sentences that are too long, or
      parameters that won't do.
  """
  name = 'translation_inputs'
  hosts = dict(host_id=host_id, n_hosts=n_hosts, prefetch=prefetch)
  if eval_batch_tokens is None:
    eval_batch_tokens = batch_tokens
  if not isinstance(bucket_lengths, (list, tuple)):
    raise ReformerError(
      f'{name}.bucket_lengths is {bucket_lengths!r}: give a list of ints'
    )
  buckets = {f'bucket_lengths[{i}]': n for i, n in enumerate(bucket_lengths)}
  check_sizes(
    name,
    batch_tokens=batch_tokens,
    eval_batch_tokens=eval_batch_tokens,
    max_length=max_length,
    **buckets,
    **hosts,
  )
  if too_long not in _TOO_LONG:
    raise ReformerError(
      f'{name}.too_long is {too_long!r}: give one of {", ".join(_TOO_LONG)}'
    )
  splits, lengths, loaded = _load(
    dataset_name, data_dir, path, vocabulary, source_language, target_language
  )
  for split, sizes in lengths.items():
    _check_lengths(dataset_name, split, sizes, max_length, too_long)
  bucket_lengths = sorted({*bucket_lengths, max_length})
  return TranslationInputs(
    splits,
    lengths,
    loaded,
    bucket_lengths[: bucket_lengths.index(max_length) + 1],
    batch_tokens,
    eval_batch_tokens,
    seed=seed,
    **hosts,
  )


class TranslationInputs(SeekableInputs):
  """SeekableInputs over pairs of sentences.

  Attributes:
    splits: dict from 'train', 'validation' and 'test' to Pairs.
    vocabulary: Vocabulary of both languages.
    max_length: int, tokens in the longest sentence that is not cut.
    batches_per_epoch: int, training batches that have every pair.
  """

  def __init__(
    self,
    splits,
    lengths,
    vocabulary,
    bucket_lengths,
    batch_tokens,
    eval_batch_tokens,
    seed=0,
    host_id=0,
    n_hosts=1,
    prefetch=0,
  ):
    """Sets the streams up.

    Args:
      splits: as the attribute.
      lengths: dict from splits to int [n_pairs, 2], tokens of each sentence;
        training pairs with an empty side (of 1 token, the end) are left out.
      vocabulary: Vocabulary.
      bucket_lengths: list of int, ascending; longer sentences are cut.
      batch_tokens: int, tokens in a training batch of all hosts.
      eval_batch_tokens: int, tokens in an evaluation batch.
      seed: int, of the training batches.
      host_id: int, this host.
      n_hosts: int; each trains on its own rows. Evaluation is the same on all.
      prefetch: int, batches made ahead of time by a thread; 0 for none.
    """
    self.vocabulary = vocabulary
    self.max_length = bucket_lengths[-1]
    held_out = [max(1, eval_batch_tokens // n) for n in bucket_lengths]
    self._buckets = {
      split: Buckets(_sizes(split, x), bucket_lengths, held_out)
      for split, x in lengths.items()
    }
    host_rows = [max(1, batch_tokens // n_hosts // n) for n in bucket_lengths]
    shuffled = Buckets(
      _sizes('train', lengths['train']),
      bucket_lengths,
      [n * n_hosts for n in host_rows],
    )
    self.batches_per_epoch = shuffled.n_batches
    training = lambda first: streams.prefetch(
      self._shuffled('train', shuffled, seed, first, host_id, n_hosts), prefetch
    )
    # In a fixed random order, so that few batches stand for the whole split.
    evaluation = lambda first: self._shuffled(
      'validation',
      self._buckets['validation'],
      seed=0,
      first=first,
      reshuffle=False,
    )
    super().__init__(splits, training, evaluation)

  def split_batches(self, split):
    """Yields all pairs of a split once, from short to long ones.

    Args:
      split: 'train', 'validation' or 'test'.

    Yields:
      Batches; the last one of a bucket is padded with rows of zeros.

    Raises:
      ReformerError: another split.
    """
    self.of_split(split)
    return (
      self._batch(split, numbers, rows, length)
      for length, rows, numbers in self._buckets[split].in_order()
    )

  def pairs(self, split):
    """The pairs of a split as they are stored: a sequence of (str, str).

    Args:
      split: 'train', 'validation' or 'test'.

    Raises:
      ReformerError: another split.
    """
    return self.of_split(split)

  def _shuffled(
    self,
    split,
    buckets,
    seed,
    first=0,
    host_id=0,
    n_hosts=1,
    reshuffle=True,
  ):
    for number in itertools.count(first):
      epoch, i = divmod(number, buckets.n_batches)
      length, pairs = buckets.batch(seed, epoch if reshuffle else 0, i)
      rows = len(pairs) // n_hosts
      pairs = pairs[host_id * rows : (host_id + 1) * rows]
      yield self._batch(split, pairs, rows, length)

  def _batch(self, split, numbers, rows, length):
    sentences = itertools.chain.from_iterable(self.splits[split].read(numbers))
    ids = np.zeros((rows, 2, length), np.int32)
    for i, sentence in enumerate(self.vocabulary.encode(sentences)):
      row, side = divmod(i, 2)
      ids[row, side, : len(sentence)] = sentence[:length]
      if len(sentence) > length and side == 0:
        ids[row, side, -1] = END
    source, target = ids[:, 0].copy(), ids[:, 1].copy()
    return source, target, (target != 0).astype(np.float32)


def _sizes(split, lengths):
  sizes = lengths.max(axis=1)
  if split == 'train':
    sizes = np.where(lengths.min(axis=1) > 1, sizes, 0)
  return sizes


@functools.lru_cache(maxsize=2)
def _load(dataset_name, data_dir, path, vocabulary, source, target):
  """Opens the data: (splits, lengths by split, Vocabulary)."""
  builder = find_builder(dataset_name, data_dir, path)
  folder = pathlib.Path(builder.data_dir)
  parameters = (builder.info.metadata or {}).get('parameters', {})
  prepared = find_vocabulary(
    folder, vocabulary, prepare_command(dataset_name, data_dir, parameters)
  )
  known = prepared.languages
  for parameter, value in (('source', source), ('target', target)):
    if value not in (None, *known):
      raise ReformerError(
        f'translation_inputs.{parameter}_language is {value!r}: give one of '
        f'{", ".join(known)}'
      )
  if source == target is not None:
    raise ReformerError(
      f'translation_inputs.target_language is {target!r}, as is '
      f'source_language: give two of {", ".join(known)}'
    )
  reverse = source == known[1] or target == known[0]
  pair = known[::-1] if reverse else known
  splits = open_pairs(builder, pair)
  print(
    f'Data: {description(builder.info)}, from {pair[0]} to {pair[1]}, '
    f'vocabulary {prepared.name}'
  )
  lengths = {}
  for split, pairs in splits.items():
    lengths[split] = prepared.lengths(split)
    if lengths[split].shape != (len(pairs), 2):
      raise ReformerError(
        f'{folder} has {len(pairs):,} pairs in {split}, but its vocabulary '
        f'{prepared.name} was trained for {len(lengths[split]):,}: remove '
        f'{pathlib.Path(prepared.vocabulary.path).parent} and prepare it again'
      )
    if reverse:
      lengths[split] = lengths[split][:, ::-1]
  if not (lengths['train'].min(axis=1) > 1).any():
    raise ReformerError(
      f'{folder} has no training pair without an empty side: use other data'
    )
  return splits, lengths, prepared.vocabulary


def _check_lengths(dataset_name, split, lengths, max_length, too_long):
  """Refuses pairs that are too long, or says how many will be cut."""
  sizes = _sizes(split, lengths)
  numbers = np.flatnonzero(sizes > max_length)
  if not len(numbers):
    return
  if too_long == 'stop':
    raise ReformerError(
      f'translation_inputs.max_length is {max_length}, but pair '
      f'{numbers[0] + 1:,} of {split} in {dataset_name} has '
      f'{sizes[numbers[0]]:,} tokens: give at least {sizes.max():,}, or '
      "too_long='cut'"
    )
  _warn(
    f'Warning: {len(numbers):,} of {len(sizes):,} pairs of {split} in '
    f'{dataset_name} are longer than max_length {max_length}, and are cut'
  )


@functools.lru_cache(maxsize=64)
def _warn(message):
  """Says a warning once."""
  print(message, file=sys.stderr)

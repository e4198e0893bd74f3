"""Batches of bytes, or of sentencepiece tokens, for a language model."""

import functools

import gin
import numpy as np

from trax_reformer_ext.data.inputs import (
  TokenInputs,
  check_length,
  check_sizes,
)
from trax_reformer_ext.data.prepared import (
  is_prepared,
  open_splits,
  open_vocabulary,
)
from trax_reformer_ext.data.sources import load_text
from trax_reformer_ext.data.tokens import ByteTokens, to_bytes
from trax_reformer_ext.errors import ReformerError

_DATASETS = ('bytes_folder', 'enwik8', 'python_stdlib', 'subwords')


@gin.configurable(module='trax_reformer_ext')
def text_inputs(
  dataset_name='python_stdlib',
  data_dir=None,
  length=512,
  batch_size=8,
  eval_batch_size=8,
  seed=0,
  batch_tokens=None,
  path=None,
  record_length=None,
  vocabulary=None,
  eval_length=None,
  host_id=0,
  n_hosts=1,
  prefetch=2,
):
  """Returns batches of windows of a text, for train.inputs.

  A batch is (inputs, targets, weights): the same token ids twice, int32
  [batch, length], byte + 2 (0 is padding; 258 ids) or ids of a vocabulary, and
  weights float32 of the same shape, 0 at padding. Training reads every window
  once an epoch, from a random offset and in a random order of its own; the n-th
  batch is a function of seed and n alone. Evaluation goes through whole windows
  of the validation text in a fixed order, again and again.

  Args:
    dataset_name: 'python_stdlib', 'enwik8' (as `trax-reformer prepare` has
      written it to data_dir, or else the raw file), 'bytes_folder', or
      'subwords', the last with sentencepiece tokens.
    data_dir: str, where enwik8 or prepared data lie; None for $REFORMER_DATA or
      TFDS's folders.
    length: int, tokens in a window.
    batch_size: int, windows in a training batch of all hosts.
    eval_batch_size: int, windows in an evaluation batch.
    seed: int, of the training windows.
    batch_tokens: int, tokens in a training batch, in place of batch_size:
      batch_tokens // length windows; None for batch_size.
    path: str, the user's folder or file that bytes_folder or subwords was
      prepared from; None for the only one.
    record_length: int, the length that the data was prepared with, which need
      not be that of the windows; None for the only one.
    vocabulary: str, which of several that subwords was prepared with, such as
      'unigram8000'; None for the only one.
    eval_length: int, tokens in a window of evaluation, where the parts for
      evaluation are shorter than a training window; None for length.
    host_id: int, this host.
    n_hosts: int; each trains on its own rows of a batch.
    prefetch: int, batches made ahead of time by a thread; 0 for none.

  Returns:
    TextInputs.

  Raises:
    ReformerError: data that is missing or too short, or sizes below 1.
  """
  hosts = dict(host_id=host_id, n_hosts=n_hosts, prefetch=prefetch)
  if batch_tokens is not None:
    batch_size = _rows(batch_tokens, length, n_hosts)
  check_sizes(
    'text_inputs',
    length=length,
    eval_length=length if eval_length is None else eval_length,
    batch_size=batch_size,
    eval_batch_size=eval_batch_size,
    **hosts,
  )
  if dataset_name not in _DATASETS:
    raise ReformerError(
      f'text_inputs.dataset_name is {dataset_name!r}: give one of '
      f'{", ".join(_DATASETS)}'
    )
  prepared = dataset_name == 'bytes_folder' or (
    dataset_name == 'enwik8' and is_prepared('enwik8', data_dir)
  )
  loaded = None
  if dataset_name == 'subwords':
    splits, loaded = _open_subwords(data_dir, path, record_length, vocabulary)
  elif prepared:
    splits = _open(dataset_name, data_dir, path, record_length)
  else:
    splits = _load(dataset_name, data_dir)
  _check_lengths(dataset_name, length, eval_length, splits)
  return TextInputs(
    splits,
    length,
    batch_size,
    eval_batch_size,
    vocabulary=loaded,
    seed=seed,
    random_offsets=True,
    eval_length=eval_length,
    **hosts,
  )


class TextInputs(TokenInputs):
  """TokenInputs whose tokens are bytes, or of sentencepiece.

  Attributes:
    vocabulary: TextVocabulary of the tokens; None for bytes.
  """

  def __init__(self, *args, vocabulary=None, **kwargs):
    """Sets the streams up; args and kwargs are as of TokenInputs."""
    super().__init__(*args, **kwargs)
    self.vocabulary = vocabulary

  def text(self, split):
    """All bytes of a split, uint8 [n_bytes]."""
    tokens = self.splits[split]
    return self.to_bytes(tokens.read(0, len(tokens)))

  def to_bytes(self, ids):
    """The bytes that ids stand for, uint8 [n_bytes]."""
    if self.vocabulary is None:
      return to_bytes(ids)
    return np.frombuffer(self.vocabulary.decode(ids).encode(), np.uint8)


def _rows(batch_tokens, length, n_hosts):
  """How many windows batch_tokens hold: as many for each host."""
  check_sizes(
    'text_inputs',
    length=length,
    batch_tokens=batch_tokens,
    n_hosts=n_hosts,
  )
  rows = batch_tokens // length // n_hosts * n_hosts
  if not rows:
    raise ReformerError(
      f'text_inputs.batch_tokens is {batch_tokens}, less than a window of '
      f'{length} for each of {n_hosts} hosts: give at least {length * n_hosts}'
    )
  return rows


def _check_lengths(dataset_name, length, eval_length, splits):
  """Refuses windows that are longer than what they are cut from."""
  if eval_length is None:
    check_length('text_inputs.length', dataset_name, length, splits)
    return
  held_out = dict(splits)
  train = {'train': held_out.pop('train')}
  check_length('text_inputs.length', dataset_name, length, train)
  check_length('text_inputs.eval_length', dataset_name, eval_length, held_out)


@functools.lru_cache(maxsize=2)
def _open(dataset_name, data_dir, path, length):
  splits, _ = open_splits(dataset_name, data_dir, path=path, length=length)
  return splits


@functools.lru_cache(maxsize=2)
def _open_subwords(data_dir, path, length, vocabulary):
  splits, records = open_splits(
    'subwords', data_dir, path=path, length=length, vocabulary=vocabulary
  )
  return splits, open_vocabulary(records)


@functools.lru_cache(maxsize=2)
def _load(dataset_name, data_dir):
  text = load_text(dataset_name, data_dir)
  print(f'Data: {text.description}')
  return {split: ByteTokens(data) for split, data in text.splits.items()}

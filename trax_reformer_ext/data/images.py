"""Batches of images for a language model."""

import functools

import gin

from trax_reformer_ext.data import prepared
from trax_reformer_ext.data.inputs import TokenInputs, check_sizes
from trax_reformer_ext.data.pixels import SIZE
from trax_reformer_ext.data.tokens import Tops
from trax_reformer_ext.errors import ReformerError

_DATASETS = ('image_folder', 'imagenet64')


@gin.configurable(module='trax_reformer_ext')
def image_inputs(
  dataset_name='imagenet64',
  data_dir=None,
  source=None,
  path=None,
  n_rows=64,
  batch_size=8,
  eval_batch_size=8,
  seed=0,
  host_id=0,
  n_hosts=1,
  prefetch=2,
):
  """Returns batches of images as sequences, for train.inputs.

  A batch is (inputs, targets, weights): the same token ids twice, int32
  [batch, n_rows * 64 * 3], row-major with red, green and blue by turns, 0 to
  255 (0 is a value like any other), and weights float32 of the same shape, 0
  only in rows that fill up the last batch of a split. Training reads every
  image once an epoch, in a random order of its own; the n-th batch is a
  function of seed and n alone.

  Args:
    dataset_name: 'imagenet64' or 'image_folder', written to data_dir by
      `trax-reformer prepare`.
    data_dir: str, where it was prepared; None for TFDS's default.
    source: str, which of several prepared sources of imagenet64; None for the
      only one.
    path: str, the user's folder or file that image_folder was prepared from;
      None for the only one.
    n_rows: int, rows of pixels from the top; 64 for whole images.
    batch_size: int, images in a training batch of all hosts.
    eval_batch_size: int, images in an evaluation batch.
    seed: int, of the order.
    host_id: int, this host.
    n_hosts: int; each trains on its own rows of a batch.
    prefetch: int, batches made ahead of time by a thread; 0 for none.

  Returns:
    TokenInputs.

  Raises:
    ReformerError: data that is not prepared, or sizes below 1.
  """
  hosts = dict(host_id=host_id, n_hosts=n_hosts, prefetch=prefetch)
  check_sizes(
    'image_inputs',
    n_rows=n_rows,
    batch_size=batch_size,
    eval_batch_size=eval_batch_size,
    **hosts,
  )
  if dataset_name not in _DATASETS:
    raise ReformerError(
      f'image_inputs.dataset_name is {dataset_name!r}: give one of '
      f'{", ".join(_DATASETS)}'
    )
  if n_rows > SIZE:
    raise ReformerError(
      f'image_inputs.n_rows is {n_rows}: give an int from 1 to {SIZE}'
    )
  splits, records = _load(dataset_name, data_dir, source, path)
  length = records.length * n_rows // SIZE
  if n_rows < SIZE:
    splits = {
      name: Tops(tokens, records.length, length)
      for name, tokens in splits.items()
    }
  return TokenInputs(
    splits, length, batch_size, eval_batch_size, seed=seed, **hosts
  )


@functools.lru_cache(maxsize=2)
def _load(dataset_name, data_dir, source, path):
  return prepared.open_splits(dataset_name, data_dir, source=source, path=path)

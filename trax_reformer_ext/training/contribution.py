"""What the LSH layers of a model contribute, and what it owes to a leak."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from trax_reformer_ext.decoding.outputs import logits_at
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.layers import LSHSelfAttention
from trax_reformer_ext.layers.lsh_attention import ABLATIONS
from trax_reformer_ext.training import run_dir
from trax_reformer_ext.training.evaluate import (
  configured_inputs,
  eval_model,
  load_weights,
  lsh_bound,
  measure,
  split_batches,
  with_first,
)


class Prefixes(NamedTuple):
  """What a model knows of some positions, by what it was given.

  Attributes:
    whole: float [n], bits of the target given the whole sequence, as a
      teacher-forced pass has them.
    prefix: float [n], given nothing from the position on.
  """

  whole: np.ndarray
  prefix: np.ndarray


def measure_ablated(weights, make_batches, label=None):
  """Measures the configured model without its LSH layers' work.

  Each way of ablation in turn (LSHSelfAttention.ablation): with zeros in place
  of what the LSH layers add, and with buckets that are random.

  Args:
    weights: function that gives a model in mode 'eval' its weights.
    make_batches: function that returns an iterator over batches.
    label: str, as of measure.

  Returns:
    dict from names of ablations to Figures.

  Raises:
    ReformerError: a model without LSHSelfAttention.
  """
  results = {}
  for ablation in ABLATIONS:
    with lsh_bound(ablation=ablation):
      first, batches = with_first(make_batches())
      model = eval_model(first)
    if not _lsh_layers(model):
      raise ReformerError(
        'the model has no LSHSelfAttention to ablate: set '
        'trax_reformer_ext.report.ablate_lsh to False, or leave --ablate_lsh '
        'out'
      )
    weights(model)
    results[ablation] = measure(model, batches, label=label)
  return results


def evaluate_ablated(folder, split='validation'):
  """As measure_ablated, of the run in a folder as gin is configured now."""
  stored = run_dir.read_weights(folder)
  inputs = configured_inputs()
  return measure_ablated(
    lambda model: load_weights(model, stored, folder),
    lambda: split_batches(inputs, split),
    label=split,
  )


def evaluate_prefixes(folder, split='validation', n=16):
  """Measures how far positions profit from tokens that come after them.

  In Trax's and the paper's mode of LSH attention a later token can move the
  border of a chunk, and so an earlier output. A pass over the tokens before a
  position alone can't profit from that; it is what generation goes by.

  Args:
    folder: str, output directory of a run.
    split: str, 'train', 'validation' or 'test'.
    n: int, positions of each sequence, evenly spread; each is another length
      to compile for.

  Returns:
    Prefixes.

  Raises:
    ReformerError: a model that is no language model, or whose number of
      buckets depends on the length; or no run there.
  """
  stored = run_dir.read_weights(folder)
  first, batches = with_first(split_batches(configured_inputs(), split))
  model = eval_model(first)
  length = first[0].shape[1]
  _check_prefixes(model, n, length)
  load_weights(model, stored, folder)
  ends = np.array([length * (i + 1) // n for i in range(n)])
  bits_at = jax.jit(functools.partial(_bits_at, model.pure_fn))
  whole, prefix = [], []
  for inputs, targets, weights in tqdm.tqdm(
    batches, desc=split, unit='batch', leave=False, disable=None
  ):
    compute = lambda inputs, at, targets=targets: bits_at(
      inputs, model.weights, model.state, targets[:, at], at
    )
    real = weights[:, ends - 1] > 0
    whole.append(np.asarray(compute(inputs, ends - 1))[real])
    prefixes = [compute(inputs[:, :end], np.array([end - 1])) for end in ends]
    prefix.append(np.concatenate(prefixes, axis=1)[real])
  return Prefixes(np.concatenate(whole), np.concatenate(prefix))


def _bits_at(model, inputs, weights, state, targets, positions):
  """Bits of the targets [batch, n] at n positions."""
  outputs, _ = model(inputs, weights, state, jax.random.PRNGKey(0))
  at = jax.vmap(functools.partial(logits_at, outputs), out_axes=1)
  log_p = jax.nn.log_softmax(at(positions).astype(jnp.float32))
  picked = jnp.take_along_axis(log_p, targets[..., None], axis=-1)
  return -picked[..., 0] / jnp.log(2.0)


def _check_prefixes(model, n, length):
  if model.n_in != 1:
    raise ReformerError(
      '--prefixes is given, but the model takes a source beside its tokens: '
      'use it with language models'
    )
  if not 1 <= n <= length:
    raise ReformerError(
      f'--prefixes is {n}: give an int from 1 to {length}, the length of a '
      'sequence'
    )
  if not all(layer.has_fixed_buckets for layer in _lsh_layers(model)):
    raise ReformerError(
      '--prefixes is given, but LSHSelfAttention.n_buckets is None, so that '
      'a prefix would have fewer buckets: give their number'
    )


def _lsh_layers(layer):
  found = [layer] if isinstance(layer, LSHSelfAttention) else []
  return sum(map(_lsh_layers, layer.sublayers), found)

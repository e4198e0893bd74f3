"""Bits per dim and accuracy over a whole split."""

import contextlib
import inspect
import itertools
from typing import NamedTuple

import gin
import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from trax import layers as tl
from trax import shapes

from trax_reformer_ext.decoding import cached_logits
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.layers import LSHSelfAttention, Metrics
from trax_reformer_ext.training import run_dir
from trax_reformer_ext.training.checks import (
  check_ids,
  check_weights,
  find_vocab_sizes,
  is_chunked,
)
from trax_reformer_ext.training.configs import configured
from trax_reformer_ext.training.predict import predict_model


class Figures(NamedTuple):
  """What a model comes to, over all weighted positions.

  Attributes:
    bits_per_dim: float, mean cross-entropy in bits.
    accuracy: float, share of positions whose likeliest token is the target.
  """

  bits_per_dim: float
  accuracy: float


def evaluate(folder, split='validation', hash_seeds=1, cached=False):
  """Evaluates the run in a folder, as gin is configured now.

  Args:
    folder: str, output directory of a run.
    split: str, 'train', 'validation' or 'test'.
    hash_seeds: int, evaluate with the rotations of this many seeds.
    cached: bool, token by token, as generation goes, and not in full passes.

  Returns:
    List of Figures, one a seed.

  Raises:
    ReformerError: no run there, or weights that do not fit the configuration.
  """
  stored = run_dir.read_weights(folder)
  inputs = configured_inputs()
  results = []
  for seed in range(hash_seeds):
    with lsh_bound(**({'hash_seed': seed} if hash_seeds > 1 else {})):
      first, batches = with_first(split_batches(inputs, split))
      if cached:
        model = predict_model(first[-1].shape[1])
      else:
        model = eval_model(first)
      load_weights(model, stored, folder)
      results.append(measure(model, batches, label=split, cached=cached))
  return results


@contextlib.contextmanager
def lsh_bound(**values):
  """Binds parameters of LSHSelfAttention by gin for a while."""
  layer = 'trax_reformer_ext.LSHSelfAttention'
  parameters = inspect.signature(LSHSelfAttention).parameters
  bound = gin.get_bindings(layer)
  before = {k: bound.get(k, parameters[k].default) for k in values}
  with gin.unlock_config():
    for name, value in values.items():
      gin.bind_parameter(f'{layer}.{name}', value)
    try:
      yield
    finally:
      for name, value in before.items():
        gin.bind_parameter(f'{layer}.{name}', value)


def configured_inputs():
  """What train.inputs returns, as configured by gin."""
  inputs = configured('inputs')
  return inputs() if callable(inputs) else inputs


def split_batches(inputs, split):
  """Yields all batches of a split once.

  Args:
    inputs: as train.inputs; with the method split_batches of text_inputs, or
      else its evaluation stream of train.eval_steps batches is the split
      'validation'.
    split: str.

  Raises:
    ReformerError: a split that is not there.
  """
  if hasattr(inputs, 'split_batches'):
    return inputs.split_batches(split)
  if split != 'validation':
    raise ReformerError(
      f'--split is {split!r}, but train.inputs has only an evaluation stream: '
      "use 'validation'"
    )
  n = gin.get_bindings('train').get('eval_steps', 10)
  return itertools.islice(inputs.eval_stream(1), n)


def with_first(batches):
  """The first batch, whose shapes a model needs, and all of them again."""
  first = next(batches)
  return first, itertools.chain([first], batches)


def eval_model(batch):
  """The configured model in mode 'eval', initialised for a batch's shapes."""
  model = configured('model')(mode='eval')
  signature = shapes.signature(batch[: model.n_in])
  model.init(signature[0] if model.n_in == 1 else signature)
  return model


def load_weights(model, stored, folder):
  """Gives an initialised model the weights of a run.

  Args:
    model: Trax layer.
    stored: list of arrays, as run_dir.read_weights has it.
    folder: str, the run's directory.

  Raises:
    ReformerError: weights of another model.
  """
  check_weights(model, stored, folder)
  model.weights, _ = tl.unflatten_weights_and_state(
    stored, (), (model.weights, ()), weights_only=True
  )


def measure(model, batches, label=None, cached=False):
  """Measures a model on batches.

  Args:
    model: initialised ReformerLM or Reformer, mode 'eval' or, with cached,
      'predict'; with or without loss_chunk_size.
    batches: iterable of (inputs, targets, weights).
    label: str, shows progress under this name on a terminal; None for none.
    cached: bool, token by token.

  Returns:
    Figures, the same on every call.

  Raises:
    ReformerError: no position has a weight.
  """
  rng = jax.random.PRNGKey(0)

  @jax.jit
  def sums(weights, state, batch):
    # Made anew for each shape: layers keep random keys of the trace.
    metrics = Metrics(chunked=is_chunked(model) and not cached)
    n_in = model.n_in
    if cached:
      logits = cached_logits(model, batch[:n_in], weights, state, rng)
      results = (logits, *batch[-2:])
    else:
      inputs = batch[0] if n_in == 1 else batch[:n_in]
      outputs, _ = model.pure_fn(inputs, weights, state, rng)
      outputs = outputs if isinstance(outputs, tuple) else (outputs,)
      results = (*outputs, *batch[n_in:])
    n = batch[-1].sum()
    # A batch of padding alone has no mean.
    means = [metrics[name](results) for name in Figures._fields]
    return [jnp.where(n > 0, mean * n, 0) for mean in means] + [n]

  vocab_sizes = find_vocab_sizes(model)
  # None: a bar only where the output is a terminal.
  progress = tqdm.tqdm(
    batches, desc=label, unit='batch', leave=False, disable=not label or None
  )
  total = np.zeros(3)
  for batch in progress:
    check_ids(batch, vocab_sizes)
    total += [float(x) for x in sums(model.weights, model.state, batch)]
  *figures, n = total
  if not n:
    raise ReformerError('the split holds no tokens to evaluate')
  return Figures(*(float(x / n) for x in figures))

"""What XLA sets aside for the loss gradient: compiled, never run."""

import functools
import pathlib

import gin
import jax
import numpy as np
import pytest
import trax.models
from trax import layers as tl

from tests.models.helpers import shapes_of
from trax_reformer_ext import (
  ChunkedCrossEntropyLoss,
  LSHSelfAttention,
  Reformer,
  ReformerLM,
  SelfAttention,
)

LENGTH, N_HEADS, N_HASHES, CHUNK = 4096, 2, 2, 64
LOCAL = dict(chunk_len=CHUNK, n_chunks_before=1)
LSH = dict(chunk_len=CHUNK, n_hashes=N_HASHES, n_buckets=64)
# XLA's defaults, in place of the quick compilation of the other tests.
OPTIMISED = dict(
  xla_backend_optimization_level=3, xla_llvm_disable_expensive_passes=False
)
SIZES = dict(
  vocab_size=258,
  d_model=128,
  d_ff=256,
  d_attention_key=32,
  d_attention_value=32,
  n_heads=N_HEADS,
  dropout=0.0,
  max_len=LENGTH,
  ff_chunk_size=512,
)


def memory(model, loss, compiler_options=None, lengths=(LENGTH,)):
  """Bytes of temporary memory of the loss gradient, and of the weights."""
  weights, state = shapes_of(model, *((1, length) for length in lengths))
  loss = loss()

  def compute(weights, state, tokens, targets):
    rng = jax.random.PRNGKey(0)
    inputs = tokens if model.n_in > 1 else tokens[0]
    out, _ = model.pure_fn(inputs, weights, state, rng)
    out = out if isinstance(out, (tuple, list)) else (out,)
    # A language model is its own target, which it does not return.
    ids = () if model.n_in > 1 else tokens
    return loss.pure_fn((*out, *ids, targets), (), (), rng)[0]

  tokens = tuple(jax.ShapeDtypeStruct((1, n), np.int32) for n in lengths)
  targets = jax.ShapeDtypeStruct((1, lengths[-1]), np.float32)
  lowered = jax.jit(jax.grad(compute)).lower(weights, state, tokens, targets)
  compiled = lowered.compile(compiler_options)
  size = sum(w.size * w.dtype.itemsize for w in jax.tree.leaves(weights))
  return compiled.memory_analysis().temp_size_in_bytes, size


def test_memory_does_not_grow_with_depth():
  ours = functools.partial(
    ReformerLM,
    **SIZES,
    attention_type=[
      functools.partial(SelfAttention, **LOCAL),
      functools.partial(LSHSelfAttention, **LSH),
    ],
    loss_chunk_size=512,
  )
  of_trax = functools.partial(
    trax.models.ReformerLM,
    **SIZES,
    attention_type=[
      functools.partial(tl.SelfAttention, **LOCAL),
      functools.partial(tl.LSHSelfAttention, **LSH, n_parallel_heads=None),
    ],
  )
  # Four layers are the fewest that are a loop, which holds stacked weights.
  shallow, small = memory(ours(n_layers=4), ChunkedCrossEntropyLoss, OPTIMISED)
  deep, large = memory(ours(n_layers=12), ChunkedCrossEntropyLoss, OPTIMISED)
  # Trax's layers are unrolled and take long to compile; the tests' quick way
  # gives the same figures for them.
  cross_entropy = tl.WeightedCategoryCrossEntropy
  shallow_trax, _ = memory(of_trax(n_layers=4), cross_entropy)
  deep_trax, _ = memory(of_trax(n_layers=12), cross_entropy)
  mib = lambda n: f'{n / 2**20:.1f} MiB'
  print(
    f'4 and 12 layers: {mib(shallow)} and {mib(deep)}; '
    f'Trax: {mib(shallow_trax)} and {mib(deep_trax)}'
  )
  # Four more LSH layers, with one byte a bucket.
  buckets = 4 * N_HASHES * N_HEADS * LENGTH
  # Each added weight once as a stacked copy and once as its gradient.
  allowed = shallow + 2 * (large - small) + buckets
  assert deep <= allowed, f'{mib(deep)} exceeds {mib(allowed)}'
  assert deep_trax - shallow_trax > 3 * (deep - shallow)


@pytest.mark.slow  # the compiler works for some ten seconds on each
def test_a_million_tokens_fit_in_16_gb_at_any_depth():
  length, n_heads = 2**20, 4
  gin_configs = pathlib.Path(__file__).parents[2] / 'gin_configs'
  model = lambda n_layers: functools.partial(ReformerLM, n_layers=n_layers)
  with gin.unlock_config():
    gin.parse_config_file(str(gin_configs / 'models/reformer_lm_1m.gin'))
  try:
    (shallow, small), (deep, large) = (
      memory(model(n)(), ChunkedCrossEntropyLoss, OPTIMISED, (length,))
      for n in (6, 12)
    )
  finally:
    gin.clear_config()
  gib = lambda n: f'{n / 2**30:.2f} GiB'
  print(f'6 and 12 layers: {gib(shallow)} and {gib(deep)}')
  # The process needs some 3 GB beside, and TensorFlow's and JAX's code.
  assert shallow < 13e9, gib(shallow)
  # Three more LSH layers, with two bytes a bucket.
  allowed = 1.01 * shallow + 2 * (large - small) + 3 * n_heads * length * 2
  assert deep <= allowed, f'{gib(deep)} exceeds {gib(allowed)}'


def test_memory_of_a_long_source_does_not_grow_with_depth():
  n_source, n_target = 16384, 4096

  def reformer(n_layers):
    return Reformer(
      input_vocab_size=258,
      d_model=128,
      d_ff=256,
      n_heads=N_HEADS,
      n_encoder_layers=n_layers,
      n_decoder_layers=n_layers,
      dropout=0.0,
      max_len=n_source,
      ff_chunk_size=512,
      loss_chunk_size=128,
      encoder_attention_type=functools.partial(LSHSelfAttention, **LSH),
    )

  (shallow, small), (deep, large) = (
    memory(
      reformer(n), ChunkedCrossEntropyLoss, OPTIMISED, (n_source, n_target)
    )
    for n in (1, 4)
  )
  mib = lambda n: f'{n / 2**20:.1f} MiB'
  print(f'1 and 4 layers: {mib(shallow)} and {mib(deep)}')
  buckets = 3 * N_HASHES * N_HEADS * n_source
  allowed = 1.1 * shallow + 2 * (large - small) + buckets
  assert deep <= allowed, f'{mib(deep)} exceeds {mib(allowed)}'
  # No scores of all queries at once: heads x target x source, float32.
  assert shallow < N_HEADS * n_target * n_source * 4

"""Language models in JAX, for benchmarks/language_model_peers.py."""

import functools
import time

import jax
import numpy as np
from turns import serve

import trax_reformer_ext as ext  # before Trax, whose import it fixes

# isort: split
import trax
from trax import layers as tl

_KINDS = {
  'ours': (
    functools.partial(ext.ReformerLM, loss_chunk_size=1024),
    ext.SelfAttention,
    ext.LSHSelfAttention,
    ext.ChunkedCrossEntropyLoss,
  ),
  'trax': (
    trax.models.ReformerLM,
    tl.SelfAttention,
    tl.LSHSelfAttention,
    tl.WeightedCategoryCrossEntropy,
  ),
}


def prepare(options):
  """As serve takes it; options: kind, ours or trax, length and n_layers."""
  shape = 1, options['length']
  ids = np.random.default_rng(0).integers(2, 258, shape).astype(np.int32)
  batch = ids, ids, np.ones(shape, np.float32)
  layer = make(options['kind'], options['n_layers'], options['length'])
  weights, state = layer.init(trax.shapes.signature(batch))
  loss = lambda weights, rng: layer.pure_fn(batch, weights, state, rng)[0]
  arguments = weights, jax.random.PRNGKey(0)
  started = time.perf_counter()
  program = jax.jit(jax.value_and_grad(loss)).lower(*arguments).compile()
  figures = dict(
    compile_seconds=time.perf_counter() - started,
    xla_mib=program.memory_analysis().temp_size_in_bytes / 2**20,
  )

  def measure():
    started = time.perf_counter()
    jax.block_until_ready(program(*arguments))
    return dict(figures, seconds=time.perf_counter() - started)

  return f'JAX {jax.__version__}', measure


def make(kind, n_layers, length, **options):
  """Model and loss, in the shape of Trax's reformer_enwik8.gin."""
  model, local, lsh, loss = _KINDS[kind]
  local = functools.partial(local, chunk_len=128, n_chunks_before=1)
  lsh = functools.partial(
    lsh, chunk_len=256, n_hashes=2, n_buckets=64, n_chunks_before=1
  )
  return tl.Serial(
    model(
      vocab_size=258,
      d_model=768,
      d_ff=2048,
      n_layers=n_layers,
      n_heads=8,
      max_len=length,
      attention_type=[local, local, lsh, local],
      ff_activation=tl.Relu,
      ff_chunk_size=1024,
      **options,
    ),
    loss(),
  )


if __name__ == '__main__':
  serve(prepare)

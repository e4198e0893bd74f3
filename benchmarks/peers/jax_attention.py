"""Attention layers in JAX, for benchmarks/attention_peers.py."""

import time

import jax
import jax.numpy as jnp
import numpy as np
from turns import serve

import trax_reformer_ext as ext  # before Trax, whose import it fixes

# isort: split
from trax import layers as tl
from trax import shapes

_KINDS = {'ours': ext.LSHSelfAttention, 'trax': tl.LSHSelfAttention}


def prepare(options):
  """As serve takes it; options: kind is ours, trax or exact."""
  kind, compiled = options['kind'], {}

  def measure(length, batch, rounds, backward):
    shape = length, batch, rounds, backward
    if shape not in compiled:
      compiled.clear()
      compiled[shape] = make_program(kind, *shape)
    started = time.perf_counter()
    jax.block_until_ready(compiled[shape]())
    return dict(seconds=time.perf_counter() - started)

  return f'JAX {jax.__version__}', measure


def make_program(kind, length, batch, rounds, backward):
  """A compiled function without arguments."""
  x = np.random.default_rng(0).normal(size=(batch, length, 512))
  x, rng = x.astype(np.float32), jax.random.PRNGKey(0)
  if kind == 'exact':
    run, weights = exact, np.full((4, 512, 512), 0.02, np.float32)
  else:
    n_buckets = 2 * length // 64
    layer = _KINDS[kind](
      n_heads=8,
      d_qk=64,
      d_v=64,
      chunk_len=64,
      n_hashes=rounds,
      n_buckets=n_buckets if n_buckets < 512 else [n_buckets // 32, 32],
      causal=True,
    )
    weights, state = layer.init(shapes.signature(x))
    run = lambda x, weights: layer.pure_fn(x, weights, state, rng)[0]

  def gradient(x, weights):
    y, vjp = jax.vjp(run, x, weights)
    return y, vjp(y)

  program = jax.jit(gradient if backward else run)
  program = program.lower(x, weights).compile()
  return lambda: program(x, weights)


def exact(x, weights):
  """Causal softmax attention with separate keys, by jax.nn."""
  q, k, v = (
    (x @ w).reshape(x.shape[:2] + (8, 64))
    for w in (weights[i] for i in range(3))
  )
  y = jax.nn.dot_product_attention(q, k, v, is_causal=True)
  return jnp.reshape(y, x.shape) @ weights[3]


if __name__ == '__main__':
  serve(prepare)

"""Generation by this package, for benchmarks/generation_peers.py."""

import time

import jax
import numpy as np
from turns import serve

import trax_reformer_ext  # noqa: F401  before Trax, whose import it fixes
from trax_reformer_ext.decoding import Generator
from trax_reformer_ext.training import configs
from trax_reformer_ext.training.predict import predict_model


def prepare(options):
  """As serve takes it."""
  context, n_tokens = options['context'], options['n_tokens']
  piece = options['piece']
  configs.parse(
    [options['config']],
    [f'trax_reformer_ext.ReformerLM.n_layers = {options["n_layers"]}'],
  )
  longest = context + piece + n_tokens
  generator = Generator(
    predict_model(longest), temperature=0, longest=longest, piece=piece
  )
  prompt = np.random.default_rng(0).integers(2, 258, context)

  def measure():
    started = time.perf_counter()
    pieces = generator.generate([prompt], piece + n_tokens)
    next(pieces)
    first = time.perf_counter()
    for _ in pieces:
      pass
    token = (time.perf_counter() - first) / n_tokens
    return dict(
      prompt=1e3 * (first - started - piece * token) / context,
      token=1e3 * token,
    )

  measure()  # compiles
  return f'JAX {jax.__version__}', measure


if __name__ == '__main__':
  serve(prepare)

"""Times cached generation at several contexts.

The 8 GB enwik8 shape (gin_configs/models/reformer_lm_8gb.gin) with 4 layers and
random weights: the prompt's parallel pass, then tokens one by one. What is
compiled is compiled before.

  python benchmarks/generation.py                       # about 10 minutes
  python benchmarks/generation.py --contexts=1024,16384
"""

import argparse
import statistics
import time

import jax
import numpy as np

import trax_reformer_ext  # noqa: F401  before Trax, whose import it mends
from trax_reformer_ext.decoding import Generator
from trax_reformer_ext.training import configs
from trax_reformer_ext.training.predict import predict_model

_N_PIECES, _PIECE = 4, 32


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--contexts', default='1024,16384,65536', help='prompt and what is added'
  )
  parser.add_argument('--layers', type=int, default=4)
  arguments = parser.parse_args()
  configs.parse(
    ['reformer_enwik8_8gb'],
    [f'trax_reformer_ext.ReformerLM.n_layers = {arguments.layers}'],
  )
  print(f'JAX {jax.__version__}, {jax.devices()[0]}')
  print('| context | prompt, ms a token | one by one, ms a token | ratio |')
  print('|---|---|---|---|')
  for context in map(int, arguments.contexts.split(',')):
    prompt, token = measure(context)
    print(
      f'| {context:,} | {prompt:.3f} | {token:.2f} | {token / prompt:.0f} |',
      flush=True,
    )


def measure(context):
  """Milliseconds a token: (of the prompt's pass, of a step after it)."""
  model = predict_model(context)
  n_added = _N_PIECES * _PIECE
  prompt = np.random.default_rng(0).integers(2, 258, context - n_added)
  generator = Generator(model, longest=context, piece=_PIECE)
  list(generator.generate([prompt], 1))  # compiles
  started = time.perf_counter()
  pieces = generator.generate([prompt], n_added)
  next(pieces)
  first = time.perf_counter() - started
  seconds = []
  for _ in range(_N_PIECES - 1):
    started = time.perf_counter()
    next(pieces)
    seconds.append(time.perf_counter() - started)
  piece = statistics.median(seconds)
  return 1e3 * (first - piece) / len(prompt), 1e3 * piece / _PIECE


if __name__ == '__main__':
  main()

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

_N_PIECES, _PIECE, _REPEATS = 4, 32, 5


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
  # With the start token and what is added, the context is full.
  prompt = np.random.default_rng(0).integers(2, 258, context - 1 - n_added)
  generator = Generator(model, longest=context, piece=_PIECE)
  list(generator.generate([prompt], 1))  # compiles
  prompts, tokens = [], []
  for _ in range(_REPEATS):
    times = [time.perf_counter()]
    for _ in generator.generate([prompt], n_added):
      times.append(time.perf_counter())
    first, *pieces = np.diff(times)
    piece = statistics.median(pieces)
    prompts.append((first - piece) / len(prompt))
    tokens.append(piece / _PIECE)
  return tuple(1e3 * statistics.median(t) for t in (prompts, tokens))


if __name__ == '__main__':
  main()

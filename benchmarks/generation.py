"""Times cached generation at several contexts.

The 8 GB enwik8 shape (gin_configs/models/reformer_lm_8gb.gin) with 4 layers and
random weights: the prompt's parallel pass, then tokens one by one. All is
compiled before; then the contexts take turns, and figures are medians.

  python benchmarks/generation.py                       # about 4 minutes
  python benchmarks/generation.py --contexts=1024,16384
  python benchmarks/generation.py --quick

Writes generation.json and generation.png in --output_dir.
"""

import argparse
import statistics
import time

import jax
import numpy as np
import results

import trax_reformer_ext  # noqa: F401  before Trax, whose import it fixes
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
  parser.add_argument('--output_dir', default='.', help='for the results')
  parser.add_argument(
    '--quick', action='store_true', help='contexts of 512 and 1,024, two turns'
  )
  arguments = parser.parse_args()
  n_turns = _REPEATS
  if arguments.quick:
    arguments.contexts, n_turns = '512,1024', 2
  configs.parse(
    ['reformer_enwik8_8gb'],
    [f'trax_reformer_ext.ReformerLM.n_layers = {arguments.layers}'],
  )
  print(f'JAX {jax.__version__}, {jax.devices()[0]}')
  contexts = [int(context) for context in arguments.contexts.split(',')]
  programs = [prepare(context) for context in contexts]
  turns = [[program() for program in programs] for _ in range(n_turns)]
  print('| context | prompt, ms a token | one by one, ms a token | ratio |')
  print('|---|---|---|---|')
  found = {}
  for context, figures in zip(contexts, zip(*turns, strict=True), strict=True):
    prompt, token = map(statistics.median, zip(*figures, strict=True))
    found[f'{context:,} tokens'] = {'prompt': prompt, 'one by one': token}
    print(
      f'| {context:,} | {prompt:.3f} | {token:.2f} | {token / prompt:.0f} |'
    )
  title = 'The prompt in one pass, and then a token at a time with caches'
  figure = results.bars(found, 'milliseconds a token', title, log=True)
  results.save(
    arguments.output_dir, 'generation', found, ('generation', figure)
  )


def prepare(context):
  """A function that measures (ms a token of the prompt, ms of a step)."""
  n_added = _N_PIECES * _PIECE
  # With the start token and what is added, the context is full.
  prompt = np.random.default_rng(0).integers(2, 258, context - 1 - n_added)
  generator = Generator(predict_model(context), longest=context, piece=_PIECE)

  def measure():
    times = [time.perf_counter()]
    for _ in generator.generate([prompt], n_added):
      times.append(time.perf_counter())
    first, *pieces = np.diff(times)
    piece = statistics.median(pieces)
    return 1e3 * (first - piece) / len(prompt), 1e3 * piece / _PIECE

  measure()  # compiles
  return measure


if __name__ == '__main__':
  main()

"""Times a generated token of this package, of Trax 1.4.1 and of Hugging Face.

All have the shape of the 8 GB enwik8 model with 4 layers, random weights, a
prompt of --context tokens and greedy decoding with caches. Each is a process of
its own, which compiles and warms up first; then they take turns: the prompt, 32
tokens that don't count, and --tokens that do. Figures are medians of the turns,
memory is the peak of the process, what it imports included. How each peer is
set up, and why so, is in its file in benchmarks/peers.

  python benchmarks/generation_peers.py  # estimated: 5 minutes

Hugging Face's needs an environment of its own (Python 3.11):

  python3.11 -m venv ENV
  ENV/bin/pip install -e '.[benchmarks]'
  python benchmarks/generation_peers.py --torch_python=ENV/bin/python  # 10
  python benchmarks/generation_peers.py --quick

Writes generation_peers.json and generation_peers.png in --output_dir.
"""

import argparse
import contextlib
import inspect
import os
import statistics
import sys

import results
from worker import Worker, WorkerError

import trax_reformer_ext  # noqa: F401  before Trax, whose import it fixes
from trax_reformer_ext.training import configs

CONFIG = 'reformer_enwik8_8gb'
_PIECE = 32  # tokens; what is compiled runs over as many
# Trax and Hugging Face take prompts in whole chunks, of either attention.
_MULTIPLE = 256


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--context', type=int, default=16384, help='tokens before (default: 16384)'
  )
  parser.add_argument(
    '--tokens', type=int, default=64, help='timed a turn (default: 64)'
  )
  parser.add_argument(
    '--layers', type=int, default=4, help='a multiple of 4 (default: 4)'
  )
  parser.add_argument('--repeats', type=int, default=5, help='(default: 5)')
  parser.add_argument(
    '--torch_python', metavar='PATH', help='with torch and transformers'
  )
  parser.add_argument('--output_dir', default='.', help='for the results')
  parser.add_argument(
    '--quick', action='store_true', help='a context of 512, two turns'
  )
  arguments = parser.parse_args()
  if arguments.quick:
    arguments.context, arguments.tokens, arguments.repeats = 512, 32, 2
  for name, multiple in ('context', _MULTIPLE), ('tokens', _PIECE):
    value = getattr(arguments, name)
    if value <= 0 or value % multiple:
      parser.error(f'--{name} is {value}: give a multiple of {multiple}')
  if arguments.layers <= 0 or arguments.layers % 4:
    parser.error(f'--layers is {arguments.layers}: give a multiple of 4')
  if arguments.repeats <= 0:
    parser.error(f'--repeats is {arguments.repeats}: give at least 1')

  options = read_shape(arguments.layers)
  most = options['n_positions'] - _PIECE - arguments.tokens
  if arguments.context > most:
    parser.error(f'--context is {arguments.context}: the model takes {most}')
  options |= dict(
    config=CONFIG,
    context=arguments.context,
    n_tokens=arguments.tokens,
    piece=_PIECE,
    n_threads=len(os.sched_getaffinity(0)),
  )
  peers = {
    'this package': (sys.executable, 'our_generation.py'),
    'Trax': (sys.executable, 'trax_generation.py'),
  }
  if arguments.torch_python:
    python = arguments.torch_python
    peers['Hugging Face'] = python, 'huggingface_generation.py'
  else:
    print('Hugging Face is left out: --torch_python is not given', flush=True)
  with contextlib.ExitStack() as stack:
    workers = {}
    # Hugging Face's first: a wrong --torch_python is told at once.
    for name, (python, script) in reversed(peers.items()):
      try:
        worker = stack.enter_context(Worker(python, script, options))
      except WorkerError as e:
        which = name
        if name == 'Hugging Face':
          which = f'--torch_python is {python!r}'
        parser.exit(2, f'error: {which}: {e}\n')
      workers[name] = worker
      print(f'{name}: {worker.about}', flush=True)
    turns = [{} for _ in range(arguments.repeats)]
    for turn in turns:
      for name in peers:
        try:
          turn[name] = workers[name].measure()
        except WorkerError as e:
          parser.exit(1, f'error: {name}: {e}\n')
  print_table(turns, arguments.context)
  bars = {
    name: {'a token': statistics.median(turn[name]['token'] for turn in turns)}
    for name in peers
  }
  figure = results.bars(
    bars,
    'milliseconds a token',
    f'A token after {arguments.context:,}, greedily and with caches',
  )
  results.save(
    arguments.output_dir,
    'generation_peers',
    dict(context=arguments.context, turns=turns),
    ('generation_peers', figure),
  )


def print_table(turns, context):
  """Prints a row for each model: medians, and ratios to this package's."""
  print(f'\n{context:,} tokens of context, {len(turns)} turns')
  print(
    '| | ms a token | to ours | turns, ms a token | prompt, ms a token | '
    'peak memory |'
  )
  print('|---|---|---|---|---|---|')
  ours = None
  for name in turns[0]:
    own = [turn[name] for turn in turns]
    token = statistics.median(x['token'] for x in own)
    prompt = statistics.median(x['prompt'] for x in own)
    ours = ours or token
    spread = ' to '.join(
      f'{f(x["token"] for x in own):.2f}' for f in (min, max)
    )
    print(
      f'| {name} | {token:.2f} | {token / ours:.1f} | {spread} | '
      f'{prompt:.3f} | {max(x["memory"] for x in own):,.0f} MiB |'
    )


def read_shape(n_layers):
  """The model's shape as the config has it, in terms that all take."""
  configs.parse(
    [CONFIG], [f'trax_reformer_ext.ReformerLM.n_layers = {n_layers}']
  )
  model, local, lsh = (
    configs.gin.get_bindings(f'trax_reformer_ext.{name}')
    for name in ('ReformerLM', 'SelfAttention', 'LSHSelfAttention')
  )
  types = [inspect.unwrap(t).__name__ for t in model['attention_type']]
  same = 'vocab_size', 'd_model', 'd_ff', 'n_heads', 'n_layers'
  return dict(
    {name: model[name] for name in same},
    d_head=model['d_attention_key'],
    n_positions=model['pos_axial_shape'][0] * model['pos_axial_shape'][1],
    attention=['lsh' if t.startswith('LSH') else 'local' for t in types],
    local={name: local[name] for name in ('chunk_len', 'n_chunks_before')},
    lsh={
      name: lsh[name]
      for name in ('chunk_len', 'n_chunks_before', 'n_hashes', 'n_buckets')
    },
  )


if __name__ == '__main__':
  main()

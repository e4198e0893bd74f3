"""Times the LSH layer by length, rounds and peer, each in its own process.

d_model 512, 8 heads of 64, chunks of 64, causal, forward and backward, float32,
projections included, by turns: this package, trax.layers.LSHSelfAttention,
Hugging Face's, reformer-pytorch's, and exact attention by torch and by JAX.

  python benchmarks/attention_peers.py --part=shapes  # four shapes
  python benchmarks/attention_peers.py --part=length --output_dir=out
  python benchmarks/attention_peers.py --quick

length measures time per token from 1,024 to 262,144 tokens, 16,384 tokens a
batch or one longer sequence, with 1, 2, 4 and 8 rounds; peers end where
--most_seconds would pass, by their last two lengths. --output_dir gets
attention_shapes or attention_by_length, each as JSON (the latter for
trax-reformer plot time) and PNG.

torch's need an environment of their own (Python 3.11), or are left out:

  python3.11 -m venv ENV
  ENV/bin/pip install -e '.[benchmarks]'
  python benchmarks/attention_peers.py --torch_python=ENV/bin/python
"""

import argparse
import contextlib
import os
import statistics
import sys

import results
from worker import Worker, WorkerError

_SHAPES = ((1024, 4, 4), (4096, 1, 4), (4096, 1, 8), (16384, 1, 4))
_TOKENS = 16384
_OURS = 'this package'
_JAX = {_OURS: 'ours', 'Trax': 'trax', 'exact, JAX': 'exact'}
_TORCH = {
  'Hugging Face': 'huggingface',
  'reformer-pytorch': 'lucidrains',
  'exact, torch': 'exact',
}


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--part', choices=('shapes', 'length'), default='shapes')
  parser.add_argument('--repeats', type=int, default=5, help='(default: 5)')
  parser.add_argument(
    '--torch_python', metavar='PATH', help='with torch and the peers on it'
  )
  parser.add_argument(
    '--most_seconds',
    type=float,
    default=40.0,
    help='a step that would take longer is left out (default: 40)',
  )
  parser.add_argument(
    '--longest', type=int, default=2**18, help='tokens (default: 262,144)'
  )
  parser.add_argument('--output_dir', default='.', help='for the results')
  parser.add_argument(
    '--quick', action='store_true', help='short sequences, two turns'
  )
  arguments = parser.parse_args()
  if arguments.quick:
    arguments.repeats, arguments.longest = 2, 4096
  try:
    with contextlib.ExitStack() as stack:
      peers = start_peers(arguments.torch_python, stack)
      if arguments.part == 'shapes':
        found = {}
        for shape in _SHAPES[: 1 if arguments.quick else None]:
          found |= compare(peers, *shape, arguments.repeats)
        title = 'Forward and backward of the attention layer and its peers'
        figure = results.bars(
          {label: f['forward+backward'] for label, f in found.items()},
          'seconds',
          title,
        )
        results.save(
          arguments.output_dir,
          'attention_shapes',
          found,
          ('attention_shapes', figure),
        )
      else:
        by_length(peers, arguments)
  except WorkerError as e:
    parser.exit(1, f'error: {e}\n')


def start_peers(torch_python, stack):
  """dict from names to workers."""
  options = {'n_threads': len(os.sched_getaffinity(0))}
  wanted = [
    (name, kind, sys.executable, 'jax_attention.py')
    for name, kind in _JAX.items()
  ]
  if torch_python:
    wanted += [
      (name, kind, torch_python, 'torch_attention.py')
      for name, kind in _TORCH.items()
    ]
  else:
    print('without --torch_python: its peers are left out', flush=True)
  peers = {}
  for name, kind, python, script in wanted:
    worker = Worker(python, script, dict(options, kind=kind))
    peers[name] = stack.enter_context(worker)
    print(f'{name}: {worker.about}', flush=True)
  return peers


def compare(peers, length, batch, rounds, repeats):
  """Prints a table of one shape; returns its figures in a dict."""
  label = f'{length} x {batch}, {rounds} rounds'
  print(f'\n| {label} | forward | to ours | ', end='')
  print('forward+backward | to ours |\n|---|---|---|---|---|')
  medians = {}
  for backward in (False, True):
    shape = dict(length=length, batch=batch, rounds=rounds, backward=backward)
    medians[backward] = take_turns(peers, list(peers), shape, repeats)
  for name in peers:
    columns = (
      f'{m[name]:.3f} s | {m[name] / m[_OURS]:.2f}' for m in medians.values()
    )
    print(f'| {name} | {" | ".join(columns)} |', flush=True)
  return {label: {'forward': medians[False], 'forward+backward': medians[True]}}


def take_turns(peers, names, shape, repeats):
  """Measures some peers by turns.

  One that fails, as where memory does not suffice, is taken out of peers.

  Returns:
    dict from the names of those that did not fail to medians of seconds.

  Raises:
    WorkerError: this package's fails.
  """
  seconds = {name: [] for name in names}
  for turn in range(repeats + 1):
    for name in list(seconds):
      try:
        measured = peers[name].measure(**shape)['seconds']
      except WorkerError as e:
        if name == _OURS:
          raise
        print(f'{name} is left out from here: {e}', flush=True)
        del peers[name], seconds[name]
        continue
      if turn:  # the first compiles
        seconds[name].append(measured)
  return {name: statistics.median(x) for name, x in seconds.items()}


def by_length(peers, arguments):
  """Measures, writes JSON and a picture, and prints a table."""
  curves = {
    f'{_OURS}, {r} round{"s"[: r > 1]}': (_OURS, r) for r in (1, 2, 4, 8)
  }
  for name in peers:
    if name != _OURS:
      label = name if name.startswith('exact') else f'{name}, 4 rounds'
      curves[label] = name, 4
  length, found = 1024, {label: {} for label in curves}
  while length <= arguments.longest:
    batch = max(1, _TOKENS // length)
    for label, (name, rounds) in curves.items():
      if name not in peers:
        continue
      if expected(found[label], length) * length * batch > (
        1e6 * arguments.most_seconds
      ):
        continue
      shape = dict(length=length, batch=batch, rounds=rounds, backward=True)
      repeats = arguments.repeats if length <= 65536 else 2
      median = take_turns(peers, [name], shape, repeats).get(name)
      if median is None:
        continue
      found[label][length] = 1e6 * median / (length * batch)
      print(
        f'{label}, {length}: {found[label][length]:.1f} us a token', flush=True
      )
    length *= 2
  picture = 'attention_by_length', draw(found)
  results.save(arguments.output_dir, 'attention_by_length', found, picture)
  lengths = sorted({n for curve in found.values() for n in curve})
  print(f'\n| us a token | {" | ".join(f"{n:,}" for n in lengths)} |')
  print('|---|' + '---|' * len(lengths))
  for label, curve in found.items():
    row = (f'{curve[n]:.1f}' if n in curve else '' for n in lengths)
    print(f'| {label} | {" | ".join(row)} |')


def draw(found):
  """A picture of time per token by length."""
  # Imported here, as Trax comes with it.
  from trax_reformer_ext import visualize

  title = (
    'Forward and backward, d_model 512, 8 heads of 64, causal, 2 CPU cores'
  )
  curves = visualize.read_curves(found, 'what was measured')
  return visualize.plot_time(curves, title)


def expected(curve, length):
  """Microseconds a token, by the last two lengths."""
  if len(curve) < 2:
    return 0
  before, last = (curve[n] for n in sorted(curve)[-2:])
  doublings = (length // max(curve)).bit_length() - 1
  return last * max(1, last / before) ** doublings


if __name__ == '__main__':
  main()

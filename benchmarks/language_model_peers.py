"""Times the Reformer language model and its peers, each in its own process.

Loss and gradient in the shape of Trax's reformer_enwik8.gin (d_model 768, d_ff
2048, 8 heads of 64, local, local, LSH and local attention by turns) on one
sequence, by turns: this package, trax.models.ReformerLM and Hugging Face's
ReformerModelWithLMHead. Memory is what XLA sets aside, and the process's peak.

  python benchmarks/language_model_peers.py --layers=4,12 --output_dir=out
  python benchmarks/language_model_peers.py --quick

Writes language_model_peers.json, and pictures of time and memory, in
--output_dir. Hugging Face's needs an environment of its
own (Python 3.11), or is left out:

  python3.11 -m venv ENV
  ENV/bin/pip install -e '.[benchmarks]'
  python benchmarks/language_model_peers.py --torch_python=ENV/bin/python
"""

import argparse
import contextlib
import os
import statistics
import sys

import results
from worker import Worker, WorkerError

_OURS = 'this package'


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--layers', default='4,12', help='(default: 4,12)')
  parser.add_argument('--length', type=int, default=8192)
  parser.add_argument('--repeats', type=int, default=5, help='(default: 5)')
  parser.add_argument('--torch_python', metavar='PATH')
  parser.add_argument('--output_dir', default='.', help='for the results')
  parser.add_argument(
    '--quick', action='store_true', help='4 layers, 1,024 tokens, two turns'
  )
  arguments = parser.parse_args()
  depths = [int(n) for n in arguments.layers.split(',')]
  if arguments.quick:
    depths, arguments.length, arguments.repeats = [4], 1024, 2
  if any(n % 4 for n in depths):
    parser.error(f'--layers is {arguments.layers}: give multiples of 4')
  found = {}
  try:
    for n_layers in depths:
      found[n_layers] = compare(n_layers, arguments)
  except WorkerError as e:
    parser.exit(1, f'error: {e}\n')
  name = 'language_model_peers'
  title = f'Loss and gradient on {arguments.length:,} tokens'
  pictures = [
    (f'{name}_{what}', results.bars(by_depth(found, key), unit, title, **more))
    for what, key, unit, more in (
      ('time', 'seconds', 'seconds', dict(decimals=1)),
      ('memory', 'memory', 'peak of the process, MiB', dict(decimals=0)),
    )
  ]
  results.save(arguments.output_dir, name, found, *pictures)


def by_depth(found, key):
  """One figure of all models, grouped by depth."""
  return {
    f'{n_layers} layers': {name: f[key] for name, f in figures.items()}
    for n_layers, figures in found.items()
  }


def compare(n_layers, arguments):
  """Prints a table of one depth; returns its figures."""
  options = dict(
    n_threads=len(os.sched_getaffinity(0)),
    length=arguments.length,
    n_layers=n_layers,
  )
  wanted = [
    (_OURS, sys.executable, 'jax_language_model.py', dict(kind='ours')),
    ('Trax', sys.executable, 'jax_language_model.py', dict(kind='trax')),
  ]
  if arguments.torch_python:
    torch = arguments.torch_python, 'torch_language_model.py', {}
    wanted.append(('Hugging Face', *torch))
  with contextlib.ExitStack() as stack:
    workers = {}
    for name, python, script, more in wanted:
      worker = Worker(python, script, dict(options, **more))
      workers[name] = stack.enter_context(worker)
      print(f'{name}: {worker.about}', flush=True)
    turns = {name: [] for name in workers}
    for _ in range(arguments.repeats + 1):
      for name, worker in workers.items():
        turns[name].append(worker.measure())
  figures = {}
  for name, each in turns.items():
    each = each[1:]  # the first warms up
    figures[name] = dict(
      each[-1], seconds=statistics.median(x['seconds'] for x in each)
    )
  print(
    f'\n| {n_layers} layers, {arguments.length} tokens | step | ours to it | '
    'XLA, MiB | process, MiB | compilation |\n|---|---|---|---|---|---|'
  )
  ours = figures[_OURS]['seconds']
  for name, f in figures.items():
    xla, compilation = f.get('xla_mib'), f.get('compile_seconds')
    print(
      f'| {name} | {f["seconds"]:.2f} s | {ours / f["seconds"]:.2f} | '
      f'{"" if xla is None else f"{xla:.0f}"} | {f["memory"]:.0f} | '
      f'{"" if compilation is None else f"{compilation:.1f} s"} |',
      flush=True,
    )
  return figures


if __name__ == '__main__':
  main()

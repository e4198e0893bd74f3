"""Measures the package on a GPU, and draws time by length.

Everything at once, the most important first: how far the fused kernels are
from a float32 reference; the LSH layer by XLA's operations and by the kernels
against exact attention by cuDNN and by torch, and against Trax's layer; whole
models, a sequence of 1,048,576 tokens and generation. gpu.json in --output_dir
is written after every row, so that a run that is cut off loses nothing.

  python benchmarks/gpu.py --output_dir=results  # 8 minutes
  python benchmarks/gpu.py --quick  # small, also without a GPU
  python benchmarks/gpu.py --draw --output_dir=results  # from gpu.json again

Rows of layers need nothing but JAX and numpy; those of torch need torch, those
of models trax and gin-config (and no TensorFlow): what is not installed is
left out. Run it on an otherwise idle machine.
"""

import argparse
import importlib.util
import json
import pathlib
import subprocess
import sys
import time

_ROWS = pathlib.Path(__file__).resolve().parent / 'gpu_rows'
# (file, what it needs, share of the time)
_WORKERS = (
  ('layers', ('jax',), 0.3),
  ('models', ('jax', 'trax', 'gin'), 0.54),
  ('torch_attention', ('torch',), 0.08),
  ('trax_layer', ('jax', 'trax', 'gin'), 0.08),
)
_SERIES = {
  'LSH, fused kernels': 'LSH, {}, bfloat16, fused, 4 rounds, forward+backward',
  "LSH, XLA's operations": 'LSH, {}, bfloat16, xla, 4 rounds, forward+backward',
  'LSH by Trax, float32': 'Trax LSH, {}, float32, 4 rounds, forward+backward',
  'exact, cuDNN': 'exact, {}, bfloat16, cudnn, forward+backward',
}


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--output_dir', default='.', help='for the results')
  parser.add_argument(
    '--seconds', type=float, default=450, help='about how long it runs (450)'
  )
  parser.add_argument('--quick', action='store_true', help='small sizes')
  parser.add_argument('--draw', action='store_true', help='only draw')
  arguments = parser.parse_args()
  folder = pathlib.Path(arguments.output_dir)
  path = folder / 'gpu.json'
  if not arguments.draw:
    folder.mkdir(parents=True, exist_ok=True)
    measure(path, arguments.seconds, arguments.quick)
  if importlib.util.find_spec('tensorflow') is None:
    # Importing the package takes stand-ins then, which disturb matplotlib.
    print('no picture: tensorflow is not installed; use --draw where it is')
    return
  draw(json.loads(path.read_text()), folder)


def measure(path, seconds, quick):
  """Runs the workers one after another, and writes each row at once."""
  rows, started = {}, time.monotonic()
  for i, (name, needed, share) in enumerate(_WORKERS):
    missing = [n for n in needed if importlib.util.find_spec(n) is None]
    if missing:
      print(f'{name}: left out, as {missing[0]} is not installed', flush=True)
      continue
    left = seconds - (time.monotonic() - started)
    own = left * share / sum(later for *_, later in _WORKERS[i:])
    command = [
      sys.executable,
      str(_ROWS / f'{name}.py'),
      f'--seconds={own:.0f}',
    ]
    process = subprocess.Popen(
      command + ['--quick'] * quick, stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
      if not line.startswith('{'):
        continue
      row = json.loads(line)
      print(line.rstrip(), flush=True)
      rows[row.pop('name', f'{name}, left out')] = row
      part = path.with_suffix('.part')
      part.write_text(json.dumps(rows, indent=1) + '\n')
      part.replace(path)
    if process.wait():
      print(f'{name}: exit code {process.returncode}', flush=True)


def draw(rows, folder):
  """Draws seconds by length of all series that were measured."""
  from trax_reformer_ext import visualize
  from trax_reformer_ext.visualize import style

  device = rows.get('device', {}).get('device', 'GPU')
  figure = style.new_figure(8, 4.8)
  axes = figure.subplots()
  for (label, name), colour in zip(
    _SERIES.items(), style.COLOURS, strict=False
  ):
    before, after = name.split('{}')
    points = sorted(
      (int(key[len(before) : -len(after)].replace(',', '')), row['seconds'])
      for key, row in rows.items()
      if key.startswith(before) and key.endswith(after) and 'seconds' in row
    )
    if points:
      lengths, seconds = zip(*points, strict=True)
      axes.plot(
        lengths, [1e3 * s for s in seconds], 'o-', color=colour, label=label
      )
  axes.set(xlabel='tokens in the sequence', ylabel='ms, forward and backward')
  axes.set_xscale('log', base=2)
  axes.set_yscale('log')
  axes.xaxis.set_major_formatter(lambda x, _: f'{int(x):,}')
  axes.tick_params(axis='x', labelsize=8)
  style.open_axes(axes)
  style.literal_legend(axes, frameon=False)
  style.literal_title(
    axes, f'One attention layer, 8 heads of 64, bfloat16, on one {device}'
  )
  visualize.save_picture(folder / 'gpu_attention_by_length.png', figure)


if __name__ == '__main__':
  main()

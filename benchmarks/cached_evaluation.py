"""Bits per byte by full passes and token by token with caches.

Trains a small model on enwik8 in each mode of LSH attention, and evaluates it
both ways on the first 4,096 held-out bytes. Without strictly_causal the two
can't be equal: in a full pass later bytes move the borders of the chunks in
which a byte looks around, while a cached step sees what came before alone.

  REFORMER_DATA=DIR python benchmarks/cached_evaluation.py   # about 10 minutes
  REFORMER_DATA=DIR python benchmarks/cached_evaluation.py --quick

Writes cached_evaluation.json and cached_evaluation.png in --output_dir.
"""

import argparse
import pathlib
import tempfile

import results

import trax_reformer_ext  # noqa: F401  before Trax, whose import it fixes
from trax_reformer_ext.training import configs, run_dir
from trax_reformer_ext.training.evaluate import (
  configured_inputs,
  eval_model,
  load_weights,
  measure,
)
from trax_reformer_ext.training.predict import predict_model
from trax_reformer_ext.training.train import train

_LENGTH = 4096
_MODES = {
  'strictly causal': dict(strictly_causal=True),
  'paper': dict(attend_across_buckets=False, allow_duplicate_attention=False),
  'Trax': dict(attend_across_buckets=True, allow_duplicate_attention=True),
}


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--steps', type=int, default=400, help='(default: 400)')
  parser.add_argument('--output_dir', default='.', help='for the results')
  parser.add_argument('--quick', action='store_true', help='4 steps')
  arguments = parser.parse_args()
  if arguments.quick:
    arguments.steps = 4
  rows = []
  for name, options in _MODES.items():
    configs.parse(['quickstart'], _bindings(arguments.steps, options))
    with tempfile.TemporaryDirectory() as folder:
      train(folder)
      rows.append((name, *_both_ways(folder)))
  print('\n| LSH attention | bits/byte, full pass | cached | difference |')
  print('|---|---|---|---|')
  for name, full, cached in rows:
    print(f'| {name} | {full:.4f} | {cached:.4f} | {cached - full:+.4f} |')
  found = {name: {'full pass': f, 'cached': c} for name, f, c in rows}
  figure = results.bars(
    found, 'bits per byte', 'Evaluated in one pass and with caches', decimals=4
  )
  results.save(
    arguments.output_dir,
    'cached_evaluation',
    found,
    ('cached_evaluation', figure),
  )


def _bindings(steps, options):
  layer, inputs = 'LSHSelfAttention', 'text_inputs'
  parameters = {
    f'{layer}.n_buckets': _LENGTH // 16,
    f'{layer}.n_hashes': 4,
    f'{layer}.strictly_causal': False,
    **{f'{layer}.{name}': value for name, value in options.items()},
    'ReformerLM.pos_axial_shape': (64, _LENGTH // 64),
    f'{inputs}.dataset_name': 'enwik8',
    f'{inputs}.length': _LENGTH,
    f'{inputs}.batch_size': 1,
    f'{inputs}.eval_batch_size': 1,
  }
  return [
    *(f'trax_reformer_ext.{k} = {v!r}' for k, v in parameters.items()),
    f'train.steps = {steps}',
    f'multifactor.steps_per_cycle = {steps}',
  ]


def _both_ways(folder):
  """Bits per byte of the first held-out bytes: (full pass, cached)."""
  stored = run_dir.read_weights(pathlib.Path(folder))
  batch = next(configured_inputs().split_batches('validation'))
  figures = []
  for cached in (False, True):
    model = predict_model(_LENGTH) if cached else eval_model(batch)
    load_weights(model, stored, folder)
    figures.append(measure(model, [batch], cached=cached).bits_per_dim)
  return figures


if __name__ == '__main__':
  main()

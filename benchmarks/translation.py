"""Trains translation models on the same batches and compares them.

This package's Reformer with exact and with LSH attention, trax.models.Reformer
(whose attention to the source is an unweighted sum) and
trax.models.Transformer, all of the same size, for the same number of steps of
gin_configs/reformer_multi30k.gin. Greedy decoding for all, as Trax's models
have no cached decoding that works; bits and BLEU are of the test split. Time
and XLA's figure for temporary buffers are those of loss and gradient, compiled
first and then run by turns.

  trax-reformer prepare translation ...  # as in reformer_multi30k.gin
  python benchmarks/translation.py --data_dir=data --output_dir=runs/multi30k

A model whose run in --output_dir is done is not trained again. --results_dir
gets translation.json and a picture.

  python benchmarks/translation.py --quick ...  # a few steps, to see it work
"""

import argparse
import functools
import pathlib
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import results
from sacrebleu.metrics import BLEU

import trax_reformer_ext as ext  # before Trax, whose import it fixes

# isort: split
from trax import layers as tl
from trax import shapes

from trax_reformer_ext.decoding.beam_search import beam_search
from trax_reformer_ext.ops import hashing
from trax_reformer_ext.ops.lsh_attention import lsh_attention
from trax_reformer_ext.training import configs, run_dir
from trax_reformer_ext.training.checks import is_chunked
from trax_reformer_ext.training.configs import configured
from trax_reformer_ext.training.evaluate import (
  configured_inputs,
  eval_model,
  load_weights,
  measure,
)
from trax_reformer_ext.training.train import train
from trax_reformer_ext.training.translation import translate

_TRAX = (
  'train.loss_fn = @trax.layers.WeightedCategoryCrossEntropy()',
  'trax_reformer_ext.Metrics.chunked = False',
)
_SIZES = dict(
  input_vocab_size=4000,
  d_model=256,
  d_ff=512,
  n_heads=4,
  n_encoder_layers=2,
  n_decoder_layers=2,
  dropout=0.1,
  max_len=256,
)


def _of_trax(name):
  sizes = [f'trax.models.{name}.{k} = {v!r}' for k, v in _SIZES.items()]
  relu = f'trax.models.{name}.ff_activation = @trax.layers.Relu'
  return [f'train.model = @trax.models.{name}', relu, *sizes, *_TRAX]


MODELS = {
  'exact': ('reformer_multi30k', []),
  'lsh': ('reformer_multi30k_lsh', []),
  'trax_reformer': ('reformer_multi30k', _of_trax('Reformer')),
  'trax_transformer': ('reformer_multi30k', _of_trax('Transformer')),
}
_MIB = 2**20
_MAX_EXTRA = 50


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--data_dir', required=True, help='prepared data')
  parser.add_argument('--output_dir', required=True, help='for the runs')
  parser.add_argument(
    '--models',
    default=','.join(MODELS),
    help=f'of {", ".join(MODELS)} (default: all)',
  )
  parser.add_argument('--steps', type=int, help='in place of the config')
  parser.add_argument(
    '--repeats', type=int, default=9, help='timed runs of each (default: 9)'
  )
  parser.add_argument(
    '--no_training', action='store_true', help='time and memory alone'
  )
  parser.add_argument('--results_dir', default='.', metavar='DIR')
  parser.add_argument(
    '--quick', action='store_true', help='4 steps, one timed run'
  )
  arguments = parser.parse_args()
  if arguments.quick:
    arguments.steps, arguments.repeats = 4, 1
  names = arguments.models.split(',')
  unknown = [name for name in names if name not in MODELS]
  if unknown:
    parser.error(f'--models is {arguments.models!r}: give {", ".join(MODELS)}')

  def configure(name):
    config, bindings = MODELS[name]
    bindings = [*bindings]
    bindings.append(
      f'trax_reformer_ext.translation_inputs.data_dir = {arguments.data_dir!r}'
    )
    if arguments.steps:
      bindings += [
        f'train.steps = {arguments.steps}',
        f'multifactor.steps_per_cycle = {arguments.steps}',
      ]
    configs.parse([config], bindings)

  quality = {}
  for name in names if not arguments.no_training else ():
    configure(name)
    folder = pathlib.Path(arguments.output_dir) / name
    if not run_dir.has_weights(folder):
      started = time.monotonic()
      train(str(folder))
      print(f'{name}: {(time.monotonic() - started) / 60:.1f} min of training')
    quality[name] = evaluate(folder)
    print(f'{name}: {quality[name]}', flush=True)

  programs = {}
  for name in names:
    configure(name)
    programs[name] = gradient()
  seconds = {name: [] for name in names}
  for _ in range(arguments.repeats):
    for name, (program, _) in programs.items():
      started = time.perf_counter()
      jax.block_until_ready(program())
      seconds[name].append(time.perf_counter() - started)
  print('\n| model | s a step | temporary MiB | test bits/token | BLEU |')
  print('|---|---|---|---|---|')
  found = {}
  for name in names:
    median = statistics.median(seconds[name])
    memory = programs[name][1] / _MIB
    found[name] = {'seconds a step': median, 'temporary MiB': memory}
    bits, bleu = quality.get(name, (float('nan'),) * 2)
    if name in quality:
      found[name] |= {'bits a token': bits, 'BLEU': bleu}
    print(f'| {name} | {median:.3f} | {memory:.0f} | {bits:.3f} | {bleu:.1f} |')
  if 'lsh' in names and not arguments.no_training:
    configure('lsh')
    folder = pathlib.Path(arguments.output_dir) / 'lsh'
    for which, share in attended(folder).items():
      print(f'share of pairs attended, {which}: {share:.3f}')
      found['lsh'][f'share of pairs attended, {which}'] = share
  keep(found, arguments.results_dir)


def keep(found, folder):
  """Writes all figures, and pictures of two."""
  pictures = [
    (f'translation_{what}', results.bars(of_models, xlabel, title))
    for what, key, xlabel, title in (
      ('time', 'seconds a step', 'seconds', 'Loss and gradient of a batch'),
      ('bleu', 'BLEU', 'BLEU', 'Multi30k, English to German, greedily'),
    )
    if (of_models := {n: {key: f[key]} for n, f in found.items() if key in f})
  ]
  results.save(folder, 'translation', found, *pictures)


def evaluate(folder):
  """Bits a token and BLEU of greedy translations of the test split."""
  inputs = configured_inputs()
  stored = run_dir.read_weights(folder)
  batches = list(inputs.split_batches('test'))
  model = eval_model(batches[0])
  load_weights(model, stored, folder)
  figures = measure(model, batches)
  pairs = list(inputs.pairs('test'))
  sources = [source for source, _ in pairs]
  if is_chunked(model):
    translated = translate(sources, inputs, stored, folder, beam_size=1)
  else:
    translated = translate_by_full_passes(model, inputs, sources)
  bleu = BLEU().corpus_score(translated, [[target for _, target in pairs]])
  return figures.bits_per_dim, bleu.score


def translate_by_full_passes(model, inputs, lines, rows=100):
  """Greedy translations, each token by a pass over all tokens so far."""
  vocabulary = inputs.vocabulary
  ids = vocabulary.encode(lines)
  order = sorted(range(len(lines)), key=lambda i: len(ids[i]))
  rng = jax.random.PRNGKey(0)

  @jax.jit
  def run(weights, state, source, limits):
    longest = source.shape[1] + _MAX_EXTRA

    def step(tokens, so_far):
      target, i = so_far
      last = jnp.maximum(i - 1, 0)
      token = jnp.where(i > 0, tokens[:, 0], 0)
      target = target.at[:, last].set(token)
      (logits, *_), _ = model.pure_fn((source, target), weights, state, rng)
      return logits[:, i], (target, i + 1)

    target = jnp.zeros((source.shape[0], longest), jnp.int32)
    found, _ = beam_search(
      step,
      (target, jnp.int32(0)),
      n_sentences=source.shape[0],
      beam_size=1,
      max_length=longest,
      length_penalty=0.0,
      limits=limits,
    )
    return found[:, 0]

  translated = [''] * len(lines)
  for start in range(0, len(lines), rows):
    members = order[start : start + rows]
    longest = -(-len(ids[members[-1]]) // 16) * 16
    source = np.zeros((rows, longest), np.int32)
    for row, i in enumerate(members):
      source[row, : len(ids[i])] = ids[i]
    limits = (source != 0).sum(axis=1).astype(np.int32) + _MAX_EXTRA
    found = np.asarray(run(model.weights, model.state, source, limits))
    for i, row in zip(members, found, strict=False):
      translated[i] = vocabulary.decode([int(t) for t in row])
  return translated


def gradient():
  """Loss and gradient of a training batch: (compiled program, bytes)."""
  batches = configured_inputs().train_stream(1)
  batch = next(b for b in batches if b[0].shape[1] == 20)
  model = configured('model')(mode='train')
  signature = shapes.signature(batch[:2])
  weights, state = jax.jit(lambda: model.init(signature))()
  if is_chunked(model):
    loss = ext.ChunkedCrossEntropyLoss()
  else:
    loss = tl.WeightedCategoryCrossEntropy()
  rng = jax.random.PRNGKey(0)

  def value(weights, batch):
    outputs, _ = model.pure_fn(batch[:2], weights, state, rng)
    return loss.pure_fn((*outputs, batch[2]), (), (), rng)[0]

  compiled = jax.jit(jax.value_and_grad(value)).lower(weights, batch).compile()
  jax.block_until_ready(compiled(weights, batch))
  memory = compiled.memory_analysis().temp_size_in_bytes
  return lambda: compiled(weights, batch), memory


def attended(folder):
  """Share of the allowed pairs that LSH attention sees on the test split.

  An LSH layer whose values are the unit vectors gives its own probabilities.
  """
  inputs = configured_inputs()
  stored = run_dir.read_weights(folder)
  seen = {'encoder': [0, 0], 'decoder': [0, 0]}
  selector = 'trax_reformer_ext.Reformer'
  options = configs.gin.get_bindings('trax_reformer_ext.LSHSelfAttention')
  model_options = configs.gin.get_bindings(selector)
  n_buckets, n_hashes = options['n_buckets'], options['n_hashes']
  masks, met = {}, []

  def count(which, q, buckets):
    causal = which == 'decoder'
    rows, heads, length, _ = q.shape
    mask = masks[which]
    unit = jnp.broadcast_to(jnp.eye(length), (rows, heads, length, length))
    probabilities = lsh_attention(
      jnp.asarray(q),
      unit,
      jnp.asarray(buckets),
      jnp.asarray(mask),
      n_buckets=n_buckets,
      chunk_len=options['chunk_len'],
      n_chunks_before=options['n_chunks_before'],
      causal=causal,
      attend_across_buckets=model_options['attend_across_buckets'],
      allow_duplicate_attention=model_options['allow_duplicate_attention'],
      strictly_causal=causal,
    )
    allowed = mask[:, None, :, None] & mask[:, None, None, :]
    allowed = allowed & ~np.eye(length, dtype=bool)
    if causal:
      allowed = allowed & np.tri(length, k=-1, dtype=bool)
    allowed = np.broadcast_to(allowed, probabilities.shape)
    seen[which][0] += int((np.asarray(probabilities > 0) & allowed).sum())
    seen[which][1] += int(allowed.sum())

  def counting(which):
    def hash_fn(q):
      rotations = hashing.random_rotations(
        jax.random.PRNGKey(0), q.shape[1], q.shape[3], n_hashes, n_buckets
      )
      buckets = hashing.hash_vectors(q, rotations, n_buckets)
      # Counted later: a callback that computes waits for what waits for it.
      jax.debug.callback(lambda *seen: met.append((which, *seen)), q, buckets)
      return buckets

    return functools.partial(ext.LSHSelfAttention, hash_fn=hash_fn)

  make = configured('model')
  types = {which: counting(which) for which in seen}
  model = make(
    mode='eval',
    encoder_attention_type=types['encoder'],
    decoder_attention_type=types['decoder'],
  )
  batches = list(inputs.split_batches('test'))
  model.init(shapes.signature(batches[0][:2]))
  load_weights(model, stored, folder)
  for source, target, _ in batches:
    masks['encoder'], masks['decoder'] = source != 0, target != 0
    jax.block_until_ready(model((source, target)))
    jax.effects_barrier()
    while met:
      count(*met.pop())
  return {which: n / total for which, (n, total) in seen.items()}


if __name__ == '__main__':
  main()

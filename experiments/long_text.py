"""Runs on 4,096 bytes of enwik8 at a time, which several experiments share."""

from runs import Run, with_seeds

_LM = 'trax_reformer_ext.ReformerLM'
_LSH = 'trax_reformer_ext.LSHSelfAttention'
_SELF = 'trax_reformer_ext.SelfAttention'

# Exact attention with shared queries and keys in place of LSH attention.
FULL = (
  f'{_LM}.attention_type = [@{_SELF}, @full/{_SELF}]',
  f'full/{_SELF}.chunk_len = None',
  f'full/{_SELF}.n_chunks_before = 0',
  f'full/{_SELF}.share_qk = True',
)
TRAX_MODE = (f'{_LSH}.strictly_causal = False',)
PAPER_MODE = (
  *TRAX_MODE,
  f'{_LSH}.attend_across_buckets = False',
  f'{_LSH}.allow_duplicate_attention = False',
)
BFLOAT16 = (f"{_LM}.activation_dtype = 'bfloat16'",)
WITHOUT = (f"{_LSH}.ablation = 'zeroed'",)


def rounds(n):
  return (f'{_LSH}.n_hashes = {n}',)


def _runs(name, bindings, *options):
  arguments = ['--split=test', *options]
  run = Run(f'long_text/{name}', 'long_text', bindings, {'all': arguments})
  return with_seeds(run)


LEAK = '--prefixes=16'
ABLATED = '--ablate_lsh'
# What is measured of a run beside bits per byte depends on who asks.
VARIANTS = {
  'full': _runs('full', FULL),
  'LSH-1': _runs('lsh1', rounds(1)),
  'LSH-2': _runs('lsh2', rounds(2), LEAK, ABLATED),
  'LSH-4': _runs('lsh4', rounds(4)),
  'LSH-8': _runs('lsh8', rounds(8)),
  'LSH-2, bfloat16': _runs('bfloat16', BFLOAT16),
  'trained without LSH': _runs('without', WITHOUT),
  "Trax's mode": _runs('trax_mode', TRAX_MODE, LEAK),
  "the paper's mode": _runs('paper_mode', PAPER_MODE, LEAK),
}

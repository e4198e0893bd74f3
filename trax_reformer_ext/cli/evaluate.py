"""trax-reformer evaluate."""

import os

import numpy as np

from trax_reformer_ext.cli.common import (
  add_beam_arguments,
  add_config_arguments,
  bindings_of,
)
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.training import configs, run_dir
from trax_reformer_ext.training.contribution import (
  evaluate_ablated,
  evaluate_prefixes,
)
from trax_reformer_ext.training.evaluate import (
  configured_inputs,
  evaluate,
)
from trax_reformer_ext.training.report import print_ablated
from trax_reformer_ext.training.translation import bleu_of_run, is_translation

HELP = "bits per dim and BLEU of a run's last checkpoint"
DESCRIPTION = """\
Prints bits per dim and accuracy of a run's last checkpoint over a whole split.
Of a translation run also BLEU: cased, on detokenised text, by sacrebleu, whose
signature is printed with it. The figures are the same on every repeat.

examples:
  trax-reformer evaluate --output_dir=runs/quickstart
  trax-reformer evaluate --output_dir=runs/quickstart --split=test \\
    --config='trax_reformer_ext.LSHSelfAttention.n_hashes=8' --hash_seeds=5
  trax-reformer evaluate --output_dir=runs/translation --split=test \\
    --beam_size=8
  trax-reformer evaluate --output_dir=runs/enwik8 --ablate_lsh --prefixes=16
"""


def add_arguments(parser):
  """Adds the command's arguments to its parser."""
  add_config_arguments(parser)
  parser.add_argument(
    '--output_dir', required=True, metavar='DIR', help='directory of the run'
  )
  parser.add_argument(
    '--split',
    default='validation',
    metavar='NAME',
    help='train, validation or test (default: validation)',
  )
  parser.add_argument(
    '--hash_seeds',
    type=int,
    default=1,
    metavar='N',
    help='evaluate with N sets of hash rotations and print their spread '
    '(default: 1)',
  )
  parser.add_argument(
    '--cached',
    action='store_true',
    help='token by token with caches, as generate goes; the same figure, but '
    'for LSH attention without strictly_causal or n_buckets',
  )
  parser.add_argument(
    '--ablate_lsh',
    action='store_true',
    help='also without the work of the LSH layers: with zeros in their place, '
    'and with random buckets',
  )
  parser.add_argument(
    '--prefixes',
    type=int,
    metavar='N',
    help='also N positions of each sequence given the tokens before them '
    'alone, to see how much of the figure is owed to later ones; for language '
    'models with a fixed LSHSelfAttention.n_buckets',
  )
  add_beam_arguments(parser)
  parser.add_argument(
    '--no_bleu',
    action='store_true',
    help='leave BLEU out, which takes longest',
  )


def run(arguments):
  """Evaluates and prints the figures."""
  if arguments.hash_seeds < 1:
    raise ReformerError(
      f'--hash_seeds is {arguments.hash_seeds}: give an int of at least 1'
    )
  folder = os.path.expanduser(arguments.output_dir)
  configs.parse([run_dir.config_path(folder)], bindings_of(arguments))
  results = evaluate(
    folder, arguments.split, arguments.hash_seeds, arguments.cached
  )
  for seed, (bits, accuracy) in enumerate(results):
    which = f', hash seed {seed}' if len(results) > 1 else ''
    print(
      f'{arguments.split}{which}: {bits:.4f} bits/dim, accuracy {accuracy:.4f}'
    )
  if len(results) > 1:
    bits = [figures.bits_per_dim for figures in results]
    print(
      f'{arguments.split}: {np.mean(bits):.4f} bits/dim, from {min(bits):.4f} '
      f'to {max(bits):.4f} over {len(bits)} hash seeds '
      f'(standard deviation {np.std(bits, ddof=1):.4f})'
    )
  if arguments.ablate_lsh:
    ablated = evaluate_ablated(folder, arguments.split)
    print_ablated(ablated, before=f'{arguments.split}, ')
  if arguments.prefixes is not None:
    _print_prefixes(folder, arguments)
  if not arguments.no_bleu and is_translation(configured_inputs()):
    _print_bleu(folder, arguments)


def _print_prefixes(folder, arguments):
  whole, prefix = evaluate_prefixes(folder, arguments.split, arguments.prefixes)
  leak = prefix - whole
  error = np.std(leak, ddof=1) / len(leak) ** 0.5 if len(leak) > 1 else np.nan
  print(
    f'{arguments.split}, {len(leak):,} positions: {np.mean(whole):.4f} '
    f'bits/dim from the whole sequence, {np.mean(prefix):.4f} from the prefix '
    f'alone, {np.mean(leak):+.4f} with a standard error of {error:.4f}'
  )


def _print_bleu(folder, arguments):
  options = dict(
    beam_size=arguments.beam_size, length_penalty=arguments.length_penalty
  )
  bleu = bleu_of_run(folder, arguments.split, **options)
  print(
    f'{arguments.split}: BLEU {bleu.score:.2f} over {bleu.n_sentences:,} '
    f'sentences, beam size {arguments.beam_size}, length penalty '
    f'{arguments.length_penalty:g} ({bleu.signature})'
  )

"""Pictures of what the layers do, as trax-reformer plot draws them."""

import inspect
import os

import jax
import jax.numpy as jnp
import numpy as np
from trax import shapes

from trax_reformer_ext import visualize
from trax_reformer_ext.cli.common import add_config_arguments, bindings_of
from trax_reformer_ext.cli.lines import read_bytes
from trax_reformer_ext.cli.picture import Picture
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.layers import (
  ChunkedFeedForward,
  LSHSelfAttention,
  ReversibleHalfResidual,
  ReversibleSerial,
  ReversibleSwap,
)
from trax_reformer_ext.layers.normalisation import LayerNorm
from trax_reformer_ext.ops import hashing
from trax_reformer_ext.training import configs, run_dir
from trax_reformer_ext.training.inspection import hashed_by_run, labels_of

_LSH = 'trax_reformer_ext.LSHSelfAttention'
# A layer of its own, where no run is given.
_NEW_LAYER = (
  'import trax_reformer_ext',
  f'{_LSH}.n_heads = 1',
  f'{_LSH}.d_qk = 32',
  f'{_LSH}.chunk_len = 8',
  f'{_LSH}.causal = True',
  f'{_LSH}.strictly_causal = True',
)
_D_MODEL = 64
_SENTENCE = 'the cat sat on the mat, the dog sat on the log'
_LONGER = 128  # bytes of this package's own source


def _add_seed(parser):
  parser.add_argument(
    '--seed', type=int, default=0, metavar='N', help='(default: 0)'
  )


def _add_hyperplanes(parser):
  for name, default in (('n_planes', 3), ('n_points', 60)):
    parser.add_argument(
      f'--{name}',
      type=int,
      default=default,
      metavar='N',
      help=f'(default: {default})',
    )
  _add_seed(parser)


def _hyperplanes(arguments):
  _check_positive(arguments, 'n_planes', 'n_points')
  rng = np.random.default_rng(arguments.seed)
  normals = rng.normal(size=(arguments.n_planes, 2))
  points = rng.normal(size=(arguments.n_points, 2))
  return visualize.plot_hyperplanes(visualize.cut_plane(points, normals))


def _angular_lsh(arguments):
  rng = np.random.default_rng(arguments.seed)
  turns = rng.uniform(-np.pi, np.pi, 3)
  start = rng.uniform(0, 2 * np.pi)
  far, near = (
    visualize.angular_lsh([start, start + apart], turns)
    for apart in (0.7 * np.pi, 0.08 * np.pi)
  )
  moves = arguments.output_file.lower().endswith('.gif')
  draw = 'animate_angular_lsh' if moves else 'plot_angular_lsh'
  return getattr(visualize, draw)(far, near)


def _add_text(parser, default):
  parser.add_argument(
    '--text', metavar='TEXT', help=f'what is attended to (default: {default})'
  )
  parser.add_argument(
    '--text_file', metavar='FILE', help='the same from a file, as it is'
  )
  parser.add_argument(
    '--output_dir',
    metavar='DIR',
    help='directory of a run on text, whose last checkpoint is looked into '
    '(default: none, a new layer on a random vector for each byte)',
  )
  parser.add_argument(
    '--layer',
    type=int,
    metavar='N',
    help="which of the run's LSH layers, from 0 (default: the last)",
  )
  parser.add_argument(
    '--head', type=int, default=0, metavar='N', help='(default: 0)'
  )
  add_config_arguments(parser)
  _add_seed(parser)


def _add_lsh_attention(parser):
  _add_text(parser, repr(_SENTENCE))
  parser.add_argument(
    '--hash_round',
    type=int,
    default=0,
    metavar='N',
    help='which of the rounds of hashing, from 0 (default: 0)',
  )


def _lsh_attention(arguments):
  text = _text(arguments, _SENTENCE.encode())
  hashed, labels = _hashed(arguments, text, [f'{_LSH}.n_buckets = 6'], [])
  stages = visualize.lsh_stages(hashed, arguments.head, arguments.hash_round)
  return visualize.plot_lsh_stages(stages, labels)


def _add_attention_matrix(parser):
  _add_text(parser, f"{_LONGER} bytes of this package's source")
  parser.add_argument(
    '--rounds',
    default='1,2,4,8',
    metavar='N,N,...',
    help='rounds of hashing (default: 1,2,4,8)',
  )


def _attention_matrix(arguments):
  try:
    rounds = [int(n) for n in arguments.rounds.split(',')]
  except ValueError:
    rounds = []
  if not rounds or min(rounds) < 1:
    raise ReformerError(
      f'--rounds is {arguments.rounds!r}: give ints of at least 1, as 1,2,4,8'
    )
  text = _text(arguments, inspect.getsource(hashing).encode()[:_LONGER])
  more = [f'{_LSH}.n_hashes = {max(rounds)}']
  hashed, _ = _hashed(arguments, text, [], more)
  return visualize.plot_attention_matrices(
    visualize.attention_matrices(hashed, rounds, arguments.head)
  )


def _text(arguments, default):
  if arguments.text_file is not None:
    if arguments.text is not None:
      raise ReformerError(
        f'--text_file is {arguments.text_file!r} with --text: leave one of '
        'them out'
      )
    text = read_bytes(arguments.text_file, '--text_file')
  elif arguments.text is not None:
    text = arguments.text.encode('utf-8', errors='surrogateescape')
  else:
    return default
  if not text:
    flag = 'text' if arguments.text_file is None else 'text_file'
    raise ReformerError(
      f'--{flag} is {getattr(arguments, flag)!r}, which is empty: give a text '
      'of some words'
    )
  return text


def _hashed(arguments, text, of_new_layer, bindings):
  """(Hashed, labels) by a run or a new layer, as the arguments say."""
  bindings = [*bindings, *bindings_of(arguments)]
  if arguments.output_dir is not None:
    folder = os.path.expanduser(arguments.output_dir)
    configs.parse([run_dir.config_path(folder)], bindings)
    return hashed_by_run(folder, text, arguments.layer)
  if arguments.layer is not None:
    raise ReformerError(
      f'--layer is {arguments.layer} without --output_dir: leave it out, or '
      'give the directory of a run'
    )
  configs.parse([], [*_NEW_LAYER, *of_new_layer, *bindings])
  layer = LSHSelfAttention(mode='eval')
  data = np.frombuffer(text, np.uint8)
  rng = np.random.default_rng(arguments.seed)
  vectors = rng.normal(size=(256, _D_MODEL)).astype(np.float32)
  x = vectors[data][None]
  layer.init(shapes.signature(x), rng=jax.random.PRNGKey(arguments.seed))
  return layer.hashed(x), labels_of(data.astype(int) + 2)


def _add_reversibility(parser):
  for name, default, what in (
    ('n_blocks', 32, 'blocks of LSH attention and feed-forward'),
    ('n_inputs', 5, 'random inputs of which the median is drawn'),
  ):
    parser.add_argument(
      f'--{name}',
      type=int,
      default=default,
      metavar='N',
      help=f'{what} (default: {default})',
    )
  _add_seed(parser)


def _reversibility(arguments):
  _check_positive(arguments, 'n_blocks', 'n_inputs')
  configs.parse([], [])  # the layers' own defaults
  n = arguments.n_blocks
  layer = ReversibleSerial([_block() for _ in range(n)], n_repeats=n)
  shape = (1, 128, _D_MODEL)
  key = jax.random.PRNGKey(arguments.seed)
  layer.init((shapes.ShapeDtype(shape),) * 2, rng=key)
  rng = np.random.default_rng(arguments.seed)
  xs = rng.normal(size=(2, arguments.n_inputs, *shape[1:]))
  errors = {}
  for dtype in (jnp.bfloat16, jnp.float32):
    of_type = tuple(jnp.asarray(x, dtype) for x in xs)
    errors[np.dtype(dtype).name] = visualize.reconstruction_errors(
      layer, of_type, key
    )
  return visualize.plot_reversibility(errors)


def _block():
  attention = LSHSelfAttention(
    n_heads=2, d_qk=32, d_v=32, chunk_len=16, n_hashes=2, causal=True
  )
  feed_forward = ChunkedFeedForward(_D_MODEL, 4 * _D_MODEL)
  return [
    ReversibleHalfResidual(LayerNorm(), attention_layer=attention),
    ReversibleSwap(),
    ReversibleHalfResidual(feed_forward),
    ReversibleSwap(),
  ]


def _check_positive(arguments, *names):
  for name in names:
    value = getattr(arguments, name)
    if value < 1:
      raise ReformerError(f'--{name} is {value}: give an int of at least 1')


PICTURES_OF_LAYERS = {
  'hyperplanes': Picture(
    'random hyperplanes that cut a plane into hash codes',
    """\
Draws how random hyperplanes (lines, in a plane) cut it into regions, each with
a hash code of a bit for each of them.

examples:
  trax-reformer plot hyperplanes
  trax-reformer plot hyperplanes --n_planes=5 --seed=1 --output_file=five.png
""",
    _add_hyperplanes,
    _hyperplanes,
  ),
  'angular_lsh': Picture(
    'two near and two far points under random rotations, animated',
    """\
Draws angular hashing of two near and two far points under three random
rotations (Figure 1 of the paper): an animation, or its end as a PNG.

examples:
  trax-reformer plot angular_lsh
  trax-reformer plot angular_lsh --seed=3 --output_file=angular_lsh.png
""",
    _add_seed,
    _angular_lsh,
    ('.gif', '.png'),
  ),
  'lsh_attention': Picture(
    'LSH attention on a text, stage by stage',
    """\
Draws one round of LSH attention on a short text, stage by stage (Figure 2 of
the paper): queries and keys, buckets, sorted, in chunks, and what is attended.
All of it is what the layer computes: that of a run, or a new one, in which
equal bytes have equal vectors.

examples:
  trax-reformer plot lsh_attention
  trax-reformer plot lsh_attention --text='to be or not to be' \\
    --config='trax_reformer_ext.LSHSelfAttention.n_buckets = 4'
  trax-reformer plot lsh_attention --output_dir=runs/quickstart \\
    --text='for name in names: print(name)' --layer=0 --head=1 \\
    --config='trax_reformer_ext.LSHSelfAttention.chunk_len = 8'
""",
    _add_lsh_attention,
    _lsh_attention,
  ),
  'attention_matrix': Picture(
    'attention weights on a text, full and by LSH with rounds added',
    """\
Draws the matrix of attention weights of a head on a text: of full attention,
and of LSH attention with more and more rounds of hashing; and the share of full
attention's weight that the rounds find.

examples:
  trax-reformer plot attention_matrix
  trax-reformer plot attention_matrix --output_dir=runs/quickstart \\
    --text_file=program.py --rounds=1,2,4,8,16 --head=2
""",
    _add_attention_matrix,
    _attention_matrix,
  ),
  'reversibility': Picture(
    'a reversible block, and how exactly stacks of them are reversed',
    """\
Draws a reversible block, and the error with which inputs are reconstructed
from outputs after walking back more and more blocks, in float32 and bfloat16.

examples:
  trax-reformer plot reversibility
  trax-reformer plot reversibility --n_blocks=64
""",
    _add_reversibility,
    _reversibility,
  ),
}

"""What several commands share: their flags, and gin bindings for them."""

# What --dataset and --data_dir are for.
NAMED_DATA = (
  'trax_reformer_ext.text_inputs',
  'trax_reformer_ext.image_inputs',
  'trax_reformer_ext.translation_inputs',
  'trax.data.data_streams',
)


def add_config_arguments(parser):
  """Adds --config and --data_dir."""
  parser.add_argument(
    '--config',
    action='append',
    default=[],
    metavar='GIN',
    help='gin binding that wins over config files; may be repeated',
  )
  parser.add_argument('--data_dir', metavar='DIR', help='where the data lies')


def add_beam_arguments(parser):
  """Adds --beam_size and --length_penalty."""
  parser.add_argument(
    '--beam_size',
    type=int,
    default=4,
    metavar='N',
    help='hypotheses of a translation that are followed; 1 is greedy '
    '(default: 4)',
  )
  parser.add_argument(
    '--length_penalty',
    type=float,
    default=0.6,
    metavar='X',
    help='the larger, the longer the translations; 0 for none (default: 0.6)',
  )


def bindings_of(arguments):
  """Lines of gin that --config and --data_dir stand for."""
  bindings = list(arguments.config)
  if arguments.data_dir:
    bindings += data_bindings('data_dir', arguments.data_dir)
  return bindings


def data_bindings(name, value):
  """Lines of gin that give all named data a parameter."""
  return [f'{stream}.{name} = {value!r}' for stream in NAMED_DATA]

"""trax-reformer convert."""

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.training import configs
from trax_reformer_ext.training.conversion import FORMATS, convert

HELP = 'turn a model into the format of another library'
DESCRIPTION = """\
Writes a model in another format. What is read tells its own format: a run of
this package, a directory of Hugging Face's transformers (a Reformer with a
language model's head), a checkpoint of Trax (model.pkl.gz, with the config.gin
beside it or else --config_file), or a safetensors file written here.

--format is one of:
  run          a directory that train, evaluate and generate take
  huggingface  a directory that from_pretrained of transformers loads
  safetensors  one file, with all that is needed to rebuild the model
  trax         a directory with model.pkl.gz and its weights, or one file where
               --to ends in .pkl.gz

examples:
  trax-reformer convert --from=reformer-enwik8 --to=runs/enwik8 --format=run
  trax-reformer convert --from=runs/enwik8 --to=published --format=huggingface
  trax-reformer convert --from=runs/enwik8 --to=enwik8.safetensors \\
    --format=safetensors
  trax-reformer convert --from=old/model.pkl.gz --to=runs/old --format=run \\
    --config_file=old.gin

Nothing that a file may hold is run. Optimizers' states are left out.
"""


def add_arguments(parser):
  """Adds the command's arguments to its parser."""
  parser.add_argument(
    '--from',
    required=True,
    dest='source',
    metavar='PATH',
    help='model to read',
  )
  parser.add_argument(
    '--to', required=True, metavar='PATH', help='what to write'
  )
  parser.add_argument(
    '--format', required=True, choices=FORMATS, help='format to write'
  )
  parser.add_argument(
    '--overwrite',
    action='store_true',
    help='replace a model that --to holds',
  )
  parser.add_argument(
    '--config_file',
    action='append',
    default=[],
    metavar='FILE',
    help="gin file with the model's arguments; may be repeated",
  )
  parser.add_argument(
    '--config',
    action='append',
    default=[],
    metavar='GIN',
    help="gin binding of the model's arguments that wins over its own; may be "
    'repeated',
  )


def run(arguments):
  """Converts, and says what was written."""
  texts = [_read(name) for name in arguments.config_file]
  description, notices = convert(
    arguments.source,
    arguments.to,
    arguments.format,
    '\n'.join(texts + arguments.config),
    arguments.overwrite,
  )
  for notice in notices:
    print(f'notice: {notice}')
  n = sum(x.size for x in description.weights.values())
  print(f'{description.model}, {n:,} weights: {arguments.to}')


def _read(name):
  path = configs.find_config(name)
  try:
    with open(path, encoding='utf-8') as f:
      return f.read()
  except (OSError, ValueError) as e:
    raise ReformerError(
      f'--config_file is {name!r}, which cannot be read ({e})'
    ) from e

"""trax-reformer prepare."""

from trax_reformer_ext.data.prepare import prepare
from trax_reformer_ext.training import configs

HELP = 'write a data set in the form in which it is trained on'
DESCRIPTION = """\
Writes a data set in the form in which it is trained on, in TFDS's layout:
enwik8, imagenet64, bytes_folder (your own files), subwords (your own texts, as
sentencepiece tokens), image_folder (your own images), translation (your own
parallel texts) or one of TFDS's data sets with pairs of texts; for subwords and
the last two also a vocabulary. Source files are looked for in --manual_dir and
not unpacked there.

examples:
  trax-reformer prepare enwik8 --data_dir=data
  trax-reformer prepare enwik8 --data_dir=data --length=8192
  trax-reformer prepare imagenet64 --data_dir=data --manual_dir=~/downloads
  trax-reformer prepare imagenet64/npz --data_dir=data --manual_dir=~/downloads
  trax-reformer prepare bytes_folder --data_dir=data --path=my_texts
  trax-reformer prepare subwords --data_dir=data --path=book.txt \\
    --config='trax_reformer_ext.train_text_vocabulary.vocab_size=320'
  trax-reformer prepare image_folder --data_dir=data --path=my_images
  trax-reformer prepare translation --data_dir=data --source=train.en.gz \\
    --target=train.de.gz --validation_source=val.en.gz \\
    --validation_target=val.de.gz \\
    --config='trax_reformer_ext.train_vocabulary.vocab_size=4000'
  trax-reformer prepare wmt14_translate/de-en --data_dir=data --source=en \\
    --target=de

A command that was stopped leaves nothing that a later one takes for complete.
"""
_FILES = (
  *('source', 'target', 'validation_source', 'validation_target'),
  *('test_source', 'test_target'),
)


def add_arguments(parser):
  """Adds the command's arguments to its parser."""
  parser.add_argument(
    'name', metavar='NAME', help='data set, or data set/config'
  )
  parser.add_argument(
    '--data_dir',
    metavar='DIR',
    help='where to write (default: ~/tensorflow_datasets)',
  )
  parser.add_argument(
    '--manual_dir',
    metavar='DIR',
    help='where source files lie (default: $REFORMER_DATA, or else '
    'downloads/manual in --data_dir)',
  )
  parser.add_argument(
    '--length', type=int, metavar='N', help='bytes or tokens in a sequence'
  )
  parser.add_argument(
    '--path', metavar='PATH', help='your own files: a folder or one file'
  )
  parser.add_argument(
    '--skip_broken',
    action='store_true',
    help='leave out images that do not decode, and count them',
  )
  for side, other in (('source', 'target'), ('target', 'source')):
    parser.add_argument(
      f'--{side}',
      metavar='FILE',
      help=f'text file, plain or .gz, line by line beside --{other}; or else, '
      "for TFDS's data sets, a language",
    )
  for name in _FILES[2:]:
    split, _, side = name.partition('_')
    parser.add_argument(
      f'--{name}',
      metavar='FILE',
      help=f'as --{side}, for {split} (default: its last lines)',
    )
  parser.add_argument(
    '--config_file',
    action='append',
    default=[],
    metavar='FILE',
    help='gin file with parameters of the vocabulary, or the name of a shipped '
    'config; may be repeated',
  )
  parser.add_argument(
    '--config',
    action='append',
    default=[],
    metavar='GIN',
    help='gin binding that wins over config files, such as '
    'trax_reformer_ext.train_vocabulary.vocab_size=4000; may be repeated',
  )


def run(arguments):
  """Prepares the data set and says what was written."""
  configs.parse(arguments.config_file, arguments.config)
  prepare(
    arguments.name,
    arguments.data_dir,
    arguments.manual_dir,
    arguments.length,
    arguments.path,
    arguments.skip_broken,
    **{name: getattr(arguments, name) for name in _FILES},
  )

"""A tiny translation run, by the command line."""

import numpy as np

from trax_reformer_ext import cli

LETTERS = list('abcdefgh')
CONFIG = """
import trax_reformer_ext
import trax.optimizers
import trax.supervised.trainer_lib

train.model = @trax_reformer_ext.Reformer
train.inputs = @trax_reformer_ext.translation_inputs
train.optimizer = @trax.optimizers.Adam
train.loss_fn = @trax_reformer_ext.ChunkedCrossEntropyLoss()
train.metrics = @trax_reformer_ext.Metrics()
trax_reformer_ext.Metrics.chunked = True
train.steps = 3
train.eval_frequency = 3
train.eval_steps = 1
train.random_seed = 0
multifactor.factors = 'constant'
multifactor.constant = 0.01
trax_reformer_ext.translation_inputs.batch_tokens = 512
trax_reformer_ext.translation_inputs.bucket_lengths = (16,)
trax_reformer_ext.translation_inputs.max_length = 16
trax_reformer_ext.Reformer.input_vocab_size = 24
trax_reformer_ext.Reformer.d_model = 16
trax_reformer_ext.Reformer.d_ff = 32
trax_reformer_ext.Reformer.n_heads = 2
trax_reformer_ext.Reformer.n_encoder_layers = 1
trax_reformer_ext.Reformer.n_decoder_layers = 1
trax_reformer_ext.Reformer.dropout = 0.0
trax_reformer_ext.Reformer.max_len = 32
trax_reformer_ext.Reformer.loss_chunk_size = 8
"""


def prepare(folder, vocab_size=24, n=60):
  """Prepares sentences of letters that are translated into capitals.

  Args:
    folder: pathlib.Path, where source files and data go.
    vocab_size: int.
    n: int, training pairs.

  Returns:
    pathlib.Path, the --data_dir.
  """
  rng = np.random.default_rng(0)
  arguments = []
  for split, size in (('', n), ('validation_', 5), ('test_', 4)):
    lines = [
      ' '.join(rng.choice(LETTERS, rng.integers(1, 6))) for _ in range(size)
    ]
    for side, change in (('source', str), ('target', str.upper)):
      path = folder / f'{split}{side}.txt'
      path.write_text(''.join(f'{change(line)}\n' for line in lines))
      arguments.append(f'--{split}{side}={path}')
  size = f'trax_reformer_ext.train_vocabulary.vocab_size = {vocab_size}'
  code = cli.main(
    [
      'prepare',
      'translation',
      f'--data_dir={folder / "data"}',
      f'--config={size}',
      *arguments,
    ]
  )
  assert code == 0
  return folder / 'data'


def train(folder, data_dir, *arguments):
  """Trains for a few steps.

  Args:
    folder: pathlib.Path.
    data_dir: pathlib.Path, of prepare.
    *arguments: str, further ones of the command.

  Returns:
    pathlib.Path, the --output_dir.
  """
  (folder / 'config.gin').write_text(CONFIG)
  code = cli.main(
    [
      'train',
      f'--config_file={folder / "config.gin"}',
      f'--data_dir={data_dir}',
      f'--output_dir={folder / "run"}',
      *arguments,
    ]
  )
  assert code == 0
  return folder / 'run'

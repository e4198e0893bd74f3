"""Real data, prepared and then trained on, by the command line.

At the data's own lengths, with a model small enough for a test.
"""

import re

import pytest

from trax_reformer_ext import cli

SMALL = [
  '--config_file=tiny',
  '--config=trax_reformer_ext.ReformerLM.n_layers = 2',
  '--config=trax_reformer_ext.ReformerLM.dropout = 0.0',
  '--config=trax_reformer_ext.ReformerLM.ff_chunk_size = 2048',
  '--config=trax_reformer_ext.ReformerLM.loss_chunk_size = 2048',
  '--config=trax_reformer_ext.LSHSelfAttention.chunk_len = 64',
  '--config=trax_reformer_ext.LSHSelfAttention.n_hashes = 1',
  '--config=trax_reformer_ext.report.sample_length = 0',
  '--config=trax_reformer_ext.report.n_batches = 2',
  "--config=multifactor.factors = 'constant'",
  '--config=multifactor.constant = 0.02',
  '--config=train.eval_steps = 3',
]


@pytest.mark.slow
@pytest.mark.parametrize(
  'name,steps,at_least,options',
  [
    (
      'enwik8',
      20,
      2.0,
      [
        '--config=trax_reformer_ext.text_inputs.length = 65536',
        '--config=trax_reformer_ext.text_inputs.eval_batch_size = 1',
        '--config=trax_reformer_ext.text_inputs.batch_size = 1',
        '--config=trax_reformer_ext.ReformerLM.pos_axial_shape = (1024, 64)',
      ],
    ),
    ('imagenet64', 60, 0.35, []),
  ],
)
def test_bits_per_dim_go_down(
  name, steps, at_least, options, real, tmp_path, capsys
):
  data_dir = f'--data_dir={tmp_path / "data"}'
  assert cli.main(['prepare', name, data_dir, f'--manual_dir={real}']) == 0
  output_dir = f'--output_dir={tmp_path / "run"}'
  config = f'--config_file=reformer_{name}'
  options = [
    *options,
    f'--config=train.steps = {steps}',
    f'--config=train.eval_frequency = {steps}',
  ]
  arguments = ['train', config, *SMALL, *options, data_dir, output_dir]
  assert cli.main(arguments) == 0
  out = capsys.readouterr().out
  found = re.findall(r'^step (\d+)  eval:.* bits_per_dim ([\d.]+)', out, re.M)
  assert [int(step) for step, _ in found] == [1, steps]
  first, last = (float(value) for _, value in found)
  assert last < first - at_least

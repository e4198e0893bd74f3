"""What LSH layers contribute, and what leaks: by the trax-reformer command."""

import re

import pytest

from tests import translation_run
from tests.test_cli import MODEL, TINY, assert_mistake, bind, call
from trax_reformer_ext import cli

LSH = 'trax_reformer_ext.LSHSelfAttention'
# Long enough for a few chunks.
LONGER = [*TINY, *bind('trax_reformer_ext.text_inputs.length = 64')]
TRAX_MODE = bind(f'{LSH}.strictly_causal = False', f'{LSH}.chunk_len = 8')
FIGURE = r'(-?[\d.]+) bits/(?:dim|byte), accuracy ([\d.]+)'


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """The folder of a tiny run on text in Trax's mode of LSH attention."""
  folder = tmp_path_factory.mktemp('run') / 'tiny'
  arguments = ['train', *LONGER, *TRAX_MODE, f'--output_dir={folder}']
  # Steps large enough for layers to differ.
  arguments += bind('multifactor.constant = 0.1')
  assert cli.main(arguments) == 0
  return folder


def evaluate(capsys, folder, *arguments):
  return call(capsys, 'evaluate', f'--output_dir={folder}', *arguments)


def test_ablations_are_those_of_the_layer(run, capsys):
  code, out, _ = evaluate(capsys, run, '--ablate_lsh')
  assert code == 0
  (whole,) = re.findall(f'validation: {FIGURE}', out)
  for name in ('zeroed', 'random_buckets'):
    told = name.replace('_', ' ')
    (found,) = re.findall(f'validation, LSH {told}: {FIGURE}', out)
    _, out_of_layer, _ = evaluate(
      capsys, run, *bind(f"{LSH}.ablation = '{name}'")
    )
    assert [found] == re.findall(f'validation: {FIGURE}', out_of_layer)
    assert found != whole


def test_a_run_reports_ablations(tmp_path, capsys):
  code, out, _ = call(
    capsys,
    'train',
    *TINY,
    *bind('trax_reformer_ext.report.ablate_lsh = True'),
    f'--output_dir={tmp_path}',
  )
  assert code == 0
  reported = dict(re.findall(r'  LSH (.*): ([\d.]+) bits/byte', out))
  assert set(reported) == {'zeroed', 'random buckets'}
  _, out, _ = evaluate(capsys, tmp_path, '--ablate_lsh')
  again = dict(re.findall(r'LSH (.*): ([\d.]+) bits/dim', out))
  assert again == reported


def prefixes(capsys, folder, *arguments):
  code, out, _ = evaluate(capsys, folder, '--prefixes=4', *arguments)
  assert code == 0
  pattern = (
    r'validation, ([\d,]+) positions: ([\d.]+) bits/dim from the whole '
    r'sequence, ([\d.]+) from the prefix alone, ([+-][\d.]+) with a standard '
    r'error of ([\d.]+)\n'
  )
  n, *figures = re.search(pattern, out).groups()
  assert int(n.replace(',', '')) > 1000
  return [float(x) for x in figures]


def test_prefixes_show_what_leaks_through_chunk_borders(run, capsys):
  whole, prefix, leak, error = prefixes(capsys, run)
  assert abs(prefix - whole - leak) < 2e-4
  assert error > 0
  *_, leak, error = prefixes(
    capsys, run, *bind(f'{LSH}.strictly_causal = True')
  )
  assert (abs(leak), error) == (0, 0)


@pytest.mark.parametrize(
  'arguments,message',
  [
    (['--prefixes=0'], '--prefixes is 0: give an int from 1 to 64'),
    (['--prefixes=65'], '--prefixes is 65'),
    (
      ['--prefixes=2', *bind(f'{LSH}.n_buckets = None')],
      'LSHSelfAttention.n_buckets is None, so that a prefix',
    ),
    (
      [
        '--ablate_lsh',
        *bind(
          f'{MODEL}.attention_type = [@trax_reformer_ext.SelfAttention, '
          '@shared/trax_reformer_ext.SelfAttention]',
          'shared/trax_reformer_ext.SelfAttention.share_qk = True',
        ),
      ],
      'the model has no LSHSelfAttention to ablate',
    ),
    (bind(f"{LSH}.ablation = 'all'"), "LSHSelfAttention.ablation is 'all'"),
  ],
)
def test_mistakes(arguments, message, run, capsys):
  assert_mistake(evaluate(capsys, run, *arguments), message)


def test_prefixes_are_for_language_models(tmp_path, capsys):
  data_dir = translation_run.prepare(tmp_path)
  translation_run.train(tmp_path, data_dir, *bind('train.steps = 1'))
  capsys.readouterr()
  result = evaluate(capsys, tmp_path / 'run', '--prefixes=2', '--no_bleu')
  assert_mistake(result, '--prefixes is given, but the model takes a source')

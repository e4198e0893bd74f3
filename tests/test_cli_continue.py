"""Continuing a text by the trax-reformer command."""

import os
import re
import subprocess

import pytest

from tests.terminal import COMMAND, interrupt
from tests.test_cli import TINY, assert_mistake, call


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """The folder of a tiny run on text."""
  from trax_reformer_ext import cli

  folder = tmp_path_factory.mktemp('run') / 'tiny'
  assert cli.main(['train', *TINY, f'--output_dir={folder}']) == 0
  return folder


def generate(capsys, folder, *arguments):
  return call(capsys, 'generate', f'--output_dir={folder}', *arguments)


def test_the_same_seed_gives_the_same_text(run, tmp_path, capsys):
  (tmp_path / 'start').write_text('def main(')
  options = '--length=40', '--temperature=1'
  code, first, err = generate(capsys, run, '--prompt=def main(', *options)
  assert (code, err) == (0, '')
  # Bytes that are no UTF-8 are replaced, by one character or more.
  assert 0 < len(first.removesuffix('\n')) <= 40
  file = f'--prompt_file={tmp_path / "start"}'
  _, again, _ = generate(capsys, run, file, *options)
  _, other, _ = generate(capsys, run, file, *options, '--seed=1')
  assert first == again != other


def test_without_a_prompt_the_likeliest_text_needs_no_seed(run, capsys):
  texts = {
    generate(capsys, run, '--length=8', '--temperature=0', f'--seed={seed}')[1]
    for seed in (0, 1)
  }
  assert len(texts) == 1


@pytest.mark.parametrize(
  'arguments,message',
  [
    (['--temperature=-1'], 'temperature is -1.0: give a number of at least 0'),
    (['--top_k=-1'], 'top_k is -1'),
    (['--top_p=2'], 'top_p is 2.0'),
    (['--length=0'], 'length is 0'),
    (
      ['--length=99999'],
      'length is 99999 after a prompt of 0 tokens, but the ',
    ),
    (['--prompt=a', '--prompt_file=b'], "--prompt_file is 'b' with --prompt"),
    (
      ['--prompt_file=/nowhere'],
      "--prompt_file is '/nowhere', which cannot be",
    ),
    (['--prompt=a', '--input_file=b'], "--prompt is 'a' with --input_file 'b'"),
    (['--input_file=/dev/null'], 'which is no translation run'),
  ],
)
def test_mistakes(arguments, message, run, capsys):
  assert_mistake(generate(capsys, run, *arguments), message)


def test_a_folder_without_a_checkpoint(run, tmp_path, capsys):
  for name in ('config_full.gin', 'config.gin'):
    (tmp_path / name).write_text((run / name).read_text())
  assert_mistake(generate(capsys, tmp_path), 'which holds no checkpoint')


@pytest.mark.parametrize(
  'binding,message',
  [
    (
      'vocab_size = 320',
      '(a vocabulary of 258, where ReformerLM.vocab_size is 320)',
    ),
    ('d_ff = 48', '((16, 32), where Dense_48 is (16, 48))'),
    ('n_layers = 2', 'weights, where this one has '),
  ],
)
def test_a_checkpoint_of_another_model(binding, message, run, capsys):
  binding = f'--config=trax_reformer_ext.ReformerLM.{binding}'
  result = generate(capsys, run, binding)
  assert_mistake(result, "another model's run")
  assert message in result[2]


def test_two_devices_give_the_same_text(run):
  """The real command, once more with the host split into two devices."""
  texts = []
  for n in (1, 2):
    flag = f'--xla_force_host_platform_device_count={n}'
    result = subprocess.run(
      [*COMMAND, 'generate', f'--output_dir={run}', '--length=20'],
      env={**os.environ, 'XLA_FLAGS': flag},
      capture_output=True,
      text=True,
    )
    assert (result.returncode, result.stderr) == (0, '')
    texts.append(result.stdout)
  assert texts[0] == texts[1]
  assert texts[0].strip()


def test_ctrl_c_leaves_what_was_generated(run):
  """A real process on a pseudo-terminal, interrupted while it generates."""
  code, said = interrupt(
    ['generate', f'--output_dir={run}', '--length=12000'],
    when=r'(?s).{100}',
    seconds=120,
  )
  assert code == 130
  assert 'Traceback' not in said
  text, _, last = said.rpartition('trax-reformer: stopped')
  assert len(text) >= 100 and text.endswith('\n') and last


def test_evaluation_with_caches_gives_the_same(run, capsys):
  evaluate = lambda *arguments: call(
    capsys, 'evaluate', f'--output_dir={run}', *arguments
  )[1]
  figures = evaluate()
  assert re.search(r'validation: [\d.]+ bits/dim', figures)
  # All digits that are printed.
  assert evaluate('--cached') == figures

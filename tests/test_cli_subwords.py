"""Language models on sentencepiece tokens, by the trax-reformer command."""

import re
import shutil
import subprocess

import gin
import pytest

from tests.data import book
from tests.data.book import VOCABULARY
from tests.terminal import COMMAND
from tests.test_cli import MODEL, assert_mistake, bind, call
from trax_reformer_ext import cli, text_inputs
from trax_reformer_ext.data import entropy
from trax_reformer_ext.training import configs, continuation, run_dir
from trax_reformer_ext.training.inspection import labels_of

CONFIG = ['--config_file=gin_configs/reformer_subwords.gin']
TINY = [*CONFIG, '--config_file=gin_configs/tiny.gin']
TEXT = book.text(1500)


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  """Data with the vocabulary of the shipped config."""
  folder = tmp_path_factory.mktemp('subwords')
  (folder / 'book.txt').write_bytes(TEXT.encode())
  return prepare(folder, *CONFIG)


def prepare(folder, *arguments):
  path = f'--path={folder / "book.txt"}'
  data_dir = folder / 'data'
  where = f'--data_dir={data_dir}'
  assert cli.main(['prepare', 'subwords', path, where, *arguments]) == 0
  return data_dir


@pytest.fixture(scope='module')
def run(data_dir, tmp_path_factory):
  """A short run by a real process: (its directory, stdout)."""
  folder = tmp_path_factory.mktemp('run') / 'tiny'
  arguments = *TINY, f'--data_dir={data_dir}', f'--output_dir={folder}'
  done = subprocess.run(
    [*COMMAND, 'train', *arguments], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  return folder, done.stdout


def generate(capsys, run, *arguments):
  return call(capsys, 'generate', f'--output_dir={run[0]}', *arguments)


def test_train_reports_bits_per_token_and_byte(run, data_dir, capsys):
  folder, out = run
  inputs = text_inputs('subwords', str(data_dir), length=64)
  n_tokens = len(inputs.splits['validation'])
  text = inputs.text('validation')
  assert f'Held-out tokens (the split validation, {n_tokens:,} in all):' in out
  per_token = float(re.search(r'this model +([\d.]+) bits/token', out)[1])
  per_byte = float(re.search(r'^ +([\d.]+) bits/byte', out, re.M)[1])
  assert 5 < per_token < 10
  assert abs(per_byte - per_token * n_tokens / len(text)) < 2e-3
  assert f', with {len(text) / n_tokens:.3f} bytes a token\n' in out
  order_0, order_1 = entropy.entropies(text)
  assert f'order-1 entropy  {order_1:.3f} bits/byte' in out
  assert f'order-0 entropy  {order_0:.3f} bits/byte' in out
  assert 'after 16 held-out tokens that end in' in out and '  | ' in out
  assert (folder / 'learning_curve.png').is_file()
  _, line, _ = call(capsys, 'evaluate', f'--output_dir={folder}')
  bits = float(re.search(r'validation: ([\d.]+) bits/dim', line)[1])
  assert abs(bits - per_token) < 6e-4


def test_the_same_seed_gives_the_same_text(run, tmp_path, capsys):
  (tmp_path / 'start').write_text('  a b\n')
  options = '--length=20', '--temperature=1'
  code, first, err = generate(capsys, run, '--prompt=  a b\n', *options)
  assert code == 0
  # What the data says of itself is no continuation.
  assert all(line.startswith('Data: ') for line in err.splitlines())
  file = f'--prompt_file={tmp_path / "start"}'
  _, again, _ = generate(capsys, run, file, *options)
  _, other, _ = generate(capsys, run, file, *options, '--seed=1')
  assert first == again != other
  assert '\ufffd' not in first


def test_a_real_process_writes_what_all_tokens_stand_for(run, data_dir):
  """As many tokens as are wanted, and their text at once."""
  folder, _ = run
  configs.parse([run_dir.config_path(folder)], [])
  vocabulary = text_inputs('subwords', str(data_dir), length=64).vocabulary
  generator = continuation.open_generator(
    run_dir.read_weights(folder), folder, 48, excluded=(0, 1, 2)
  )
  prompt = vocabulary.encode('  a b\n')
  pieces = list(generator.generate([prompt], 40, 3))
  ids = [i for piece in pieces for i in piece[0]]
  assert len(pieces) > 1 and len(ids) == 40
  gin.clear_config()
  done = subprocess.run(
    [
      *(*COMMAND, 'generate', f'--output_dir={folder}', '--prompt=  a b\n'),
      *('--length=40', '--seed=3', '--temperature=1'),
    ],
    capture_output=True,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.decode() == vocabulary.decode(ids) + '\n'


def test_lsh_attention_is_drawn_of_a_text_as_tokens(
  run, data_dir, tmp_path, capsys
):
  path = tmp_path / 'x.png'
  arguments = f'--output_dir={run[0]}', f'--output_file={path}', '--text= a b'
  code, out, _ = call(capsys, 'plot', 'lsh_attention', *arguments)
  assert code == 0 and f'Picture: {path}' in out
  assert path.read_bytes().startswith(b'\x89PNG')
  vocabulary = text_inputs('subwords', str(data_dir), length=64).vocabulary
  ids = vocabulary.encode(' a\tΩ')
  labels = labels_of([0, *ids], vocabulary)
  assert labels[0] == '▷' and len(labels) == len(ids) + 1
  # What the vocabulary does not know is a dot.
  assert ''.join(labels[1:]) == '␣a⇥·'


@pytest.mark.parametrize('prompt', ['', ' Ω日 ▁</s>\t\n\n'])
def test_any_prompt_goes_on(prompt, run, capsys):
  options = '--length=4', '--temperature=0'
  code, out, _ = generate(capsys, run, f'--prompt={prompt}', *options)
  assert code == 0 and out.endswith('\n') and len(out) >= 5


def test_tokens_that_stand_for_no_text(tmp_path, capsys):
  """In the data, and of a model with more ids than the vocabulary."""
  (tmp_path / 'book.txt').write_bytes(TEXT.encode())
  coverage = f'--config={VOCABULARY}.character_coverage=0.98'
  data_dir = prepare(tmp_path, *CONFIG, coverage)
  folder = tmp_path / 'run'
  code, out, _ = call(
    capsys,
    'train',
    *TINY,
    f'--data_dir={data_dir}',
    f'--output_dir={folder}',
    *bind(f'{MODEL}.vocab_size = 500', 'train.steps = 1'),
    *bind('trax_reformer_ext.text_inputs.eval_batch_size = 2'),
    *bind('trax_reformer_ext.report.n_batches = 2'),
  )
  assert code == 0 and 'A sample at temperature' in out
  inputs = text_inputs('subwords', str(data_dir), length=64)
  ids = inputs.splits['validation'].read(0, 256)
  ratio = len(inputs.to_bytes(ids)) / 256
  n_unknown = (ids == 2).sum()
  assert n_unknown > 0
  assert (
    f', with {ratio:.3f} bytes a token, {n_unknown} tokens unknown\n' in out
  )
  options = '--length=60', '--temperature=9'
  assert generate(capsys, [folder], *options)[0] == 0


@pytest.mark.parametrize(
  'arguments,message',
  [
    (
      ['--length=99999', '--prompt=a'],
      'length is 99999 after a prompt of 1 tokens, but the model takes 12288',
    ),
    (['--length=0'], 'length is 0'),
    (['--data_dir=/nowhere'], 'subwords is not prepared in /nowhere: run trax'),
  ],
)
def test_mistakes(arguments, message, run, capsys):
  code, _, err = generate(capsys, run, *arguments)
  assert_mistake((code, '', err.splitlines()[-1]), message)


def test_a_prompt_that_is_not_utf_8(run, tmp_path, capsys):
  (tmp_path / 'x').write_bytes('naïve'.encode('latin-1'))
  code, _, err = generate(capsys, run, f'--prompt_file={tmp_path / "x"}')
  message = 'prompt is not UTF-8 at byte 2 (0xef), but the run is on text, with'
  assert_mistake((code, '', err.splitlines()[-1]), message)


def test_data_with_another_vocabulary(run, data_dir, tmp_path, capsys):
  """A larger one, which neither training nor generation takes."""
  shutil.copy(data_dir.parent / 'book.txt', tmp_path)
  size = f'--config={VOCABULARY}.vocab_size=340'
  other = f'--data_dir={prepare(tmp_path, *CONFIG, size)}'
  capsys.readouterr()
  code, _, err = generate(capsys, run, other)
  message = 'ReformerLM.vocab_size is 320, but the vocabulary has 340 ids ('
  assert_mistake((code, '', err.splitlines()[-1]), message)
  output = f'--output_dir={tmp_path / "run"}'
  result = call(capsys, 'train', *TINY, other, output)
  assert_mistake(result, 'ReformerLM.vocab_size is 320, but the data has the')

"""Pictures by the trax-reformer command."""

import gzip
import json
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from trax import layers as tl

from tests.terminal import COMMAND
from tests.test_cli import MODEL, TINY, assert_mistake, bind, call
from trax_reformer_ext import cli
from trax_reformer_ext.training import configs
from trax_reformer_ext.training.evaluate import eval_model

LSH = 'trax_reformer_ext.LSHSelfAttention'
MEASURED = {'this package': {'1024': 10.0, '2048': 11}, 'Trax': {'1024': 20}}


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """The folder of a tiny run on text."""
  folder = tmp_path_factory.mktemp('run') / 'tiny'
  assert cli.main(['train', *TINY, f'--output_dir={folder}']) == 0
  return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """The working directory, with measurements in a file."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'measured.json').write_text(json.dumps(MEASURED))
  return tmp_path


def plot(capsys, *arguments):
  return call(capsys, 'plot', *arguments)


def assert_picture(result, path, name, kind='PNG'):
  assert result == (0, f'Picture: {name}\n', '')
  image = Image.open(path / name)
  assert image.format == kind and 700 < image.width < 1100
  # There is something to see.
  assert len(image.convert('RGB').getcolors(2**20)) > 10


@pytest.mark.parametrize(
  'arguments',
  [
    ['hyperplanes'],
    ['hyperplanes', '--n_planes=5', '--n_points=9', '--seed=3'],
    ['lsh_attention'],
    ['lsh_attention', '--text=to be or not', '--hash_round=0', '--seed=1'],
    ['lsh_attention', *bind(f'{LSH}.n_buckets = 4', f'{LSH}.chunk_len = 5')],
    ['attention_matrix', '--text=to be or not to be', '--rounds=1,3'],
    ['reversibility', '--n_blocks=2', '--n_inputs=2'],
    ['memory', 'measured.json'],
    ['time', 'measured.json', '--title=One layer'],
  ],
  ids=' '.join,
)
def test_pictures_that_need_no_run(arguments, folder, capsys):
  result = plot(capsys, *arguments)
  assert_picture(result, folder, f'{arguments[0]}.png')


def test_angular_lsh_is_animated_or_not_by_the_name(folder, capsys):
  result = plot(capsys, 'angular_lsh')
  assert_picture(result, folder, 'angular_lsh.gif', 'GIF')
  result = plot(capsys, 'angular_lsh', '--output_file=end.PNG')
  assert_picture(result, folder, 'end.PNG')


@pytest.mark.parametrize(
  'arguments',
  [
    ['lsh_attention', '--text=é for\tx', '--layer=0', '--head=1'],
    ['attention_matrix', '--text_file=x.py', '--rounds=1,2'],
  ],
  ids=lambda x: x[0],
)
def test_pictures_of_a_run(arguments, run, folder, capsys):
  (folder / 'x.py').write_text('for x in range(10):\n  print(x)\n')
  result = plot(capsys, *arguments, f'--output_dir={run}')
  assert_picture(result, folder, f'{arguments[0]}.png')


def test_what_is_drawn_of_a_run_is_its_own(run, folder, capsys, monkeypatch):
  from trax_reformer_ext import visualize

  drawn = []

  def lsh_stages(hashed, *arguments):
    drawn.append((hashed, *arguments))
    return stages(hashed, *arguments)

  def plot_lsh_stages(stages, labels):
    drawn.append(labels)
    return plot_stages(stages, labels)

  stages, plot_stages = visualize.lsh_stages, visualize.plot_lsh_stages
  monkeypatch.setattr(visualize, 'lsh_stages', lsh_stages)
  monkeypatch.setattr(visualize, 'plot_lsh_stages', plot_lsh_stages)
  text = '--text=a b\tc\nä'
  chosen = '--head=1', '--hash_round=1'
  code, _, _ = plot(
    capsys, 'lsh_attention', f'--output_dir={run}', text, *chosen
  )
  assert code == 0
  (hashed, *numbers), labels = drawn
  assert numbers == [1, 1]
  # The start token, which the model puts before the text; ä is two bytes.
  assert labels == ['▷', *'a␣b⇥c⏎··']
  # The tiny model has 2 heads of 8, and its config 2 rounds of hashing.
  assert hashed.q.shape == (1, 2, len(labels), 8)
  assert hashed.buckets.shape == (1, 2, 2, len(labels))
  assert hashed.options['chunk_len'] == 16
  assert hashed.options['strictly_causal']


def test_curves_of_runs(run, folder, capsys):
  shutil.copytree(run, folder / 'other')
  assert_picture(plot(capsys, 'curves', str(run)), folder, 'curves.png')
  both = 'curves', str(run), 'other', '--output_file=both.png'
  assert_picture(plot(capsys, *both), folder, 'both.png')
  one, two = (folder / x for x in ('curves.png', 'both.png'))
  assert one.read_bytes() != two.read_bytes()


def test_the_same_command_gives_the_same_picture(folder, capsys):
  for name in ('a.png', 'b.png'):
    plot(capsys, 'hyperplanes', f'--output_file={name}')
  plot(capsys, 'hyperplanes', '--output_file=c.png', '--seed=1')
  a, b, c = ((folder / f'{name}.png').read_bytes() for name in 'abc')
  assert a == b != c


def test_nothing_is_overwritten_unless_asked(folder, capsys):
  path = folder / 'hyperplanes.png'
  path.write_text('in the way')
  assert_mistake(
    plot(capsys, 'hyperplanes'),
    "--output_file is 'hyperplanes.png', which exists: give another one, or "
    '--overwrite',
  )
  assert path.read_text() == 'in the way'
  result = plot(capsys, 'hyperplanes', '--overwrite')
  assert_picture(result, folder, 'hyperplanes.png')


def test_a_real_process_is_quiet(folder):
  done = subprocess.run(
    [*COMMAND, 'plot', 'hyperplanes'], capture_output=True, text=True
  )
  assert (done.returncode, done.stdout, done.stderr) == (
    *(0, 'Picture: hyperplanes.png\n', ''),
  )


@pytest.mark.parametrize(
  'picture',
  ['', 'hyperplanes', 'lsh_attention', 'memory', 'time', 'curves'],
)
def test_help_has_examples(picture, capsys):
  with pytest.raises(SystemExit) as stop:
    cli.main(['plot', *([picture] if picture else []), '--help'])
  assert stop.value.code == 0
  out = capsys.readouterr().out
  assert 'examples:' in out and f'trax-reformer plot {picture}' in out


@pytest.mark.parametrize(
  'arguments,message',
  [
    ([], 'the following arguments are required: PICTURE'),
    (
      ['pie'],
      "invalid choice: 'pie' (choose from 'hyperplanes', 'angular_lsh'",
    ),
    (
      ['hyperplanes', '--output_file=x.svg'],
      "--output_file is 'x.svg': give a name that ends in .png",
    ),
    (
      ['hyperplanes', '--output_file=x.gif'],
      "--output_file is 'x.gif': give a name that ends in .png",
    ),
    (
      ['angular_lsh', '--output_file=x'],
      "--output_file is 'x': give a name that ends in .gif or .png",
    ),
    (
      ['hyperplanes', '--output_file=nowhere/x.png'],
      "--output_file is 'nowhere/x.png', which cannot be written",
    ),
    (['hyperplanes', '--n_planes=0'], '--n_planes is 0: give an int of at'),
    (['hyperplanes', '--n_planes=17'], 'give 1 to 16 hyperplanes'),
    (['hyperplanes', '--n_points=-1'], '--n_points is -1: give an int of at'),
    (['reversibility', '--n_blocks=0'], '--n_blocks is 0: give an int of at'),
    (['reversibility', '--n_inputs=0'], '--n_inputs is 0: give an int of at'),
    (['lsh_attention', '--head=1'], 'head is 1: give an int from 0 to 0'),
    (
      ['lsh_attention', '--hash_round=1'],
      'hash_round is 1: give an int from 0',
    ),
    (['lsh_attention', '--layer=0'], '--layer is 0 without --output_dir'),
    (['lsh_attention', '--text='], "--text is '', which is empty"),
    (['lsh_attention', f'--text={"x" * 65}'], 'has 65 tokens, of which 64 can'),
    (
      ['lsh_attention', '--text=a', '--text_file=b'],
      "--text_file is 'b' with --text: leave one of them out",
    ),
    (
      ['lsh_attention', '--text_file=missing'],
      "--text_file is 'missing', which cannot be read (No such file",
    ),
    (
      ['lsh_attention', '--output_dir=missing'],
      "--output_dir is 'missing', which holds no config_full.gin",
    ),
    (
      ['lsh_attention', *bind(f'{LSH}.n_buckets = 3')],
      'LSHSelfAttention.n_buckets is 3: give an even int',
    ),
    (
      ['attention_matrix', '--rounds=1,x'],
      "--rounds is '1,x': give ints of at",
    ),
    (['attention_matrix', '--rounds=0'], "--rounds is '0': give ints of at"),
    (['attention_matrix', '--rounds='], "--rounds is '': give ints of at"),
    (
      ['attention_matrix', '--text=abc', *bind(f'{LSH}.n_hashes = 2')],
      'n_rounds is (1, 2, 4, 8), but the layer hashes 2 times',
    ),
    (
      ['time', 'missing.json'],
      "RESULTS is 'missing.json', which cannot be read (No such file",
    ),
    (['memory'], 'the following arguments are required: RESULTS'),
    (['curves', 'missing'], "RUN is 'missing', which holds no checkpoint"),
    (['curves'], 'the following arguments are required: RUN'),
  ],
)
def test_mistakes(arguments, message, folder, capsys):
  before = sorted(folder.iterdir())
  assert_mistake(plot(capsys, *arguments), message)
  assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
  'content,message',
  [
    (b'{"a": ', 'which is no JSON'),
    (b'\xff\xfe\x00', 'which is no JSON'),
    (b'[' * 100_000, 'which is no JSON'),
    (b'[1, 2]', 'which is no measurement'),
    (b'{}', 'which is no measurement'),
    (b'{"a": {"1024": "fast"}}', 'which is no measurement'),
    (b'{"a": {"1024": -1}}', 'which is no measurement'),
  ],
)
@pytest.mark.parametrize('picture', ['memory', 'time'])
def test_results_that_are_none(picture, content, message, folder, capsys):
  (folder / 'x.json').write_bytes(content)
  result = plot(capsys, picture, 'x.json')
  assert_mistake(result, f"RESULTS is 'x.json', {message}")
  assert not (folder / f'{picture}.png').exists()


def test_mistakes_about_a_run(run, folder, capsys):
  of_run = f'--output_dir={run}'
  result = plot(capsys, 'lsh_attention', of_run, '--layer=2')
  assert_mistake(result, '--layer is 2: give an int from 0 to 1, for one of')
  result = plot(capsys, 'lsh_attention', of_run, *bind(f'{MODEL}.d_ff = 48'))
  assert_mistake(result, "which holds another model's run")
  result = plot(capsys, 'curves', str(run), f'{run}/../tiny')
  assert_mistake(result, "/../tiny', which is there twice: leave one out")


def test_a_run_without_lsh(run, folder, capsys):
  shutil.copy(run / 'config_full.gin', folder)
  local = f'{MODEL}.attention_type = @trax_reformer_ext.SelfAttention'
  configs.parse(['config_full.gin'], [local])
  model = eval_model((np.zeros((1, 4), np.int32),))
  weights, _ = tl.flatten_weights_and_state(model.weights, ())
  with gzip.open(folder / 'model.weights.npy.gz', 'wb') as f:
    for w in weights:
      np.save(f, w)
  result = plot(capsys, 'lsh_attention', '--output_dir=.', *bind(local))
  assert_mistake(result, "--output_dir is '.', whose model has no LSHSelfAtt")
  result = plot(capsys, 'curves', '.')
  assert_mistake(result, "RUN is '.', which holds no checkpoint")


def test_a_run_without_a_checkpoint(run, folder, capsys):
  shutil.copy(run / 'config_full.gin', folder)
  result = plot(capsys, 'attention_matrix', '--output_dir=.')
  assert_mistake(result, "--output_dir is '.', which holds no checkpoint")
  result = plot(capsys, 'curves', '.')
  assert_mistake(result, "RUN is '.', which holds no checkpoint: give the")


def test_a_run_that_is_not_on_text(folder, capsys):
  (folder / 'config_full.gin').write_text(
    'import trax_reformer_ext\n'
    'import trax.supervised.trainer_lib\n'
    'train.model = @trax_reformer_ext.ReformerLM\n'
    'train.inputs = @trax_reformer_ext.duplication_inputs\n'
  )
  result = plot(capsys, 'lsh_attention', '--output_dir=.')
  assert_mistake(result, "--output_dir is '.', which is no run on text")

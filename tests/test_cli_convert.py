"""trax-reformer convert, and what is done with what it writes."""

import os
import re
import types

import numpy as np
import pytest

import trax_reformer_ext as ext
from tests.interop.small import assert_same_weights, described
from tests.test_cli import TINY, assert_mistake, bind, call
from trax_reformer_ext import cli
from trax_reformer_ext.interop import tensors
from trax_reformer_ext.training.conversion import read

DATA = bind("trax_reformer_ext.text_inputs.dataset_name = 'python_stdlib'")
WINDOWS = bind(
  'trax_reformer_ext.text_inputs.length = 64',
  'trax_reformer_ext.text_inputs.eval_batch_size = 64',
)
LOOSE = bind('trax_reformer_ext.LSHSelfAttention.strictly_causal = False')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """The folder of a tiny run on text."""
  folder = tmp_path_factory.mktemp('run') / 'tiny'
  assert cli.main(['train', *TINY, f'--output_dir={folder}']) == 0
  return folder


def convert(capsys, source, target, form, *arguments):
  return call(
    capsys,
    'convert',
    f'--from={source}',
    f'--to={target}',
    f'--format={form}',
    *arguments,
  )


def bits_of(capsys, folder, *arguments):
  code, out, err = call(
    capsys, 'evaluate', f'--output_dir={folder}', *arguments
  )
  assert code == 0, err
  return re.search(r'validation: ([\d.]+) bits/dim', out)[1]


def test_a_run_that_came_by_another_format_is_evaluated_and_generates(
  run, tmp_path, capsys
):
  file, folder = tmp_path / 'one.safetensors', tmp_path / 'run'
  code, out, err = convert(capsys, run, file, 'safetensors')
  assert (code, err) == (0, '')
  assert re.fullmatch(rf'ReformerLM, [\d,]+ weights: {file}\n', out)
  assert convert(capsys, file, folder, 'run')[0] == 0
  assert bits_of(capsys, folder, *DATA, *WINDOWS) == bits_of(capsys, run)
  generate = ['generate', f'--output_dir={folder}', '--length=8']
  code, out, _ = call(capsys, *generate, '--prompt=def main(')
  assert code == 0 and out.strip()


def test_what_hugging_face_does_not_have_is_accepted_by_name(
  run, tmp_path, capsys
):
  result = convert(capsys, run, tmp_path / 'hf', 'huggingface')
  assert_mistake(result, 'strictly_causal is True, which Hugging Face')
  assert not list(tmp_path.iterdir())
  code, out, _ = convert(capsys, run, tmp_path / 'hf', 'huggingface', *LOOSE)
  assert code == 0
  assert 'notice: transformers 5.23 leaves lm_head.bias out' in out
  assert_same_weights(
    read(str(tmp_path / 'hf'))[0].weights, read(str(run))[0].weights
  )


QUICK = bind(
  'train.steps = 1',
  'trax_reformer_ext.report.sample_length = 0',
  'trax_reformer_ext.report.n_batches = 1',
)


def first_loss(capsys, folder, *arguments):
  code, out, err = call(
    capsys,
    'train',
    *TINY,
    f'--output_dir={folder}',
    *QUICK,
    *arguments,
  )
  assert code == 0, err
  return float(re.search(r'train: \w+Loss (\d+\.\d+)', out + err)[1])


def test_training_starts_from_every_format(run, tmp_path, capsys):
  """The first loss is the same, and not that of random weights."""
  start = lambda path: bind(f'train.init_checkpoint = {str(path)!r}')
  expected = first_loss(capsys, tmp_path / 'of_run', *start(run))
  assert abs(first_loss(capsys, tmp_path / 'anew') - expected) > 0.003
  for form, name in (
    ('huggingface', 'hf'),
    ('trax', 'one.pkl.gz'),  # without its config
    ('run', 'run'),
  ):
    assert convert(capsys, run, tmp_path / name, form, *LOOSE)[0] == 0
  for name in ('hf', 'one.pkl.gz'):
    folder = tmp_path / f'of_{name}'
    assert first_loss(capsys, folder, *start(tmp_path / name)) == expected
  # A converted run goes on in its own place, with new optimizer slots.
  assert first_loss(capsys, tmp_path / 'run') == expected
  code, out, _ = call(
    capsys,
    'train',
    *TINY,
    f'--output_dir={tmp_path / "run"}',
    *QUICK,
    *bind('train.steps = 2'),
  )
  assert code == 0 and 'steps 2 to 2' in out


def test_mistakes_in_init_checkpoint(run, tmp_path, capsys):
  def start(path, *bindings):
    folder = tmp_path / 'run'
    arguments = bind(f'train.init_checkpoint = {str(path)!r}', *bindings)
    return call(capsys, 'train', *TINY, f'--output_dir={folder}', *arguments)

  assert_mistake(start(tmp_path / 'no'), "no' is not there: give the directory")
  assert_mistake(
    start(run, 'trax_reformer_ext.ReformerLM.d_ff = 48'),
    'does not hold the weights of the model (of another shape: layers.0.feed_f',
  )
  assert_mistake(
    start(run, 'train.use_loop = False'),
    'with train.use_loop False: Trax takes',
  )
  description = described()
  tensors.write_model(description, str(tmp_path / 'a.safetensors'))
  result = start(tmp_path / 'a.safetensors')
  assert_mistake(
    result, f"train.init_checkpoint '{tmp_path}/a.safetensors' does"
  )
  assert not (tmp_path / 'run' / 'checkpoints').exists()


def test_another_models_converted_run_is_not_trained(tmp_path, capsys):
  tensors.write_model(described(), str(tmp_path / 'a.safetensors'))
  file = tmp_path / 'a.safetensors'
  assert convert(capsys, file, tmp_path / 'run', 'run')[0] == 0
  result = call(capsys, 'train', *TINY, f'--output_dir={tmp_path / "run"}')
  assert_mistake(result, "which holds another model's run")


@pytest.fixture
def file(tmp_path):
  """A small model as safetensors."""
  path = tmp_path / 'source.safetensors'
  tensors.write_model(described(), str(path))
  return path


@pytest.mark.parametrize(
  'form,name',
  [('run', 'a'), ('trax', 'b.pkl.gz'), ('safetensors', 'c.safeten')],
)
def test_a_target_that_exists(form, name, file, tmp_path, capsys):
  target = tmp_path / name.replace('safeten', 'safetensors')
  assert convert(capsys, file, target, form)[0] == 0
  other = described(seed=1)
  tensors.write_model(other, str(file))
  result = convert(capsys, file, target, form)
  assert_mistake(result, 'which exists: choose another one, or replace it by')
  assert convert(capsys, file, target, form, '--overwrite')[0] == 0
  if form != 'trax':
    assert_same_weights(read(str(target))[0].weights, other.weights)
  assert len(list(tmp_path.iterdir())) == 2


def test_overwrite_replaces_models_alone(file, tmp_path, capsys):
  target = tmp_path / 'mine'
  target.mkdir()
  (target / 'letter').write_text('dear')
  result = convert(capsys, file, target, 'run', '--overwrite')
  assert_mistake(result, 'which holds no model: --overwrite replaces models al')
  assert (target / 'letter').read_text() == 'dear'


def test_a_target_that_cannot_be_written(file, tmp_path, capsys):
  (tmp_path / 'file').write_text('in the way')
  for form, name in (
    ('run', 'run'),
    ('safetensors', 'a.safetensors'),
    ('trax', 'a.pkl.gz'),
    ('huggingface', 'hf'),
  ):
    result = convert(capsys, file, tmp_path / 'file' / name, form)
    assert_mistake(result, 'which cannot be written (')


def test_a_full_disk_leaves_nothing(file, tmp_path, capsys, monkeypatch):
  def full(*arguments, **options):
    raise OSError(28, 'No space left on device')

  for module, form in (('numpy.lib.format', 'trax'), ('json', 'huggingface')):
    with monkeypatch.context() as patch:
      name = 'write_array' if form == 'trax' else 'dump'
      patch.setattr(f'{module}.{name}', full)
      result = convert(capsys, file, tmp_path / 'target', form)
    assert_mistake(result, 'cannot be written (No space left on device)')
  monkeypatch.setattr(
    'shutil.disk_usage', lambda path: types.SimpleNamespace(free=0)
  )
  result = convert(capsys, file, tmp_path / 'target', 'run')
  assert_mistake(result, 'cannot be written (No space left on device')
  assert os.listdir(tmp_path) == [file.name]


@pytest.mark.parametrize(
  'source,name,form,message',
  [
    ('nowhere', 'a', 'run', "nowhere' is not there: give the directory of a"),
    ('', 'a', 'run', 'holds no model: give the directory of a run'),
    ('source.safetensors', 'a', 'safetensors', 'ends in .safetensors'),
    ('source.safetensors', 'a', 'onnx', "invalid choice: 'onnx'"),
  ],
)
def test_mistakes(source, name, form, message, file, tmp_path, capsys):
  result = convert(capsys, tmp_path / source, tmp_path / name, form)
  assert_mistake(result, message)


def test_config_files_for_a_pickle(file, tmp_path, capsys):
  pickle, folder = tmp_path / 'a.pkl.gz', tmp_path / 'trax'
  assert convert(capsys, file, pickle, 'trax')[0] == 0
  assert convert(capsys, file, folder, 'trax')[0] == 0
  result = convert(capsys, pickle, tmp_path / 'run', 'run')
  assert_mistake(result, 'give its arguments, by --config_file or --config')
  config = f'--config_file={folder / "config.gin"}'
  result = convert(capsys, pickle, tmp_path / 'run', 'run', config)
  assert result[0] == 0
  ids = np.ones((1, 8), np.int32)
  np.testing.assert_array_equal(
    ext.load_model(tmp_path / 'run')(ids), ext.load_model(file)(ids)
  )
  (tmp_path / 'bad.gin').write_bytes(b'\xff')
  bad = f'--config_file={tmp_path / "bad.gin"}'
  result = convert(capsys, pickle, tmp_path / 'other', 'run', bad)
  assert_mistake(result, "bad.gin', which cannot be read")

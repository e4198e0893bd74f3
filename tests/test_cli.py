"""The trax-reformer command, as a user runs it."""

import gzip
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

from tests.data.test_text import PREFIX
from tests.terminal import COMMAND, interrupt
from trax_reformer_ext import cli

TINY = ['--config_file=quickstart', '--config_file=tiny']


def call(capsys, *arguments):
  """Runs the command in this process: (exit code, stdout, stderr)."""
  code = cli.main(list(arguments))
  out, err = capsys.readouterr()
  return code, out, err


def bind(*bindings):
  return [f'--config={binding}' for binding in bindings]


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A short run by a real process: (its directory, stdout, stderr)."""
  folder = tmp_path_factory.mktemp('run') / 'tiny'
  done = subprocess.run(
    [*COMMAND, 'train', *TINY, f'--output_dir={folder}'],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return folder, done.stdout, done.stderr


def held_out_bits(out):
  return float(re.search(r'this model\s+([\d.]+) bits/', out)[1])


def test_train_reports_what_it_came_to(run):
  folder, out, err = run
  assert f'Output directory: {folder}' in out
  assert 'the standard library of Python' in out
  order_1 = float(re.search(r'order-1 entropy\s+([\d.]+)', out)[1])
  order_0 = float(re.search(r'order-0 entropy\s+([\d.]+)', out)[1])
  assert 3 < order_1 < order_0 < 5.5
  assert 4 < held_out_bits(out) < 9
  assert 'A sample at temperature 0.8' in out and '  | ' in out
  picture = folder / 'learning_curve.png'
  assert f'Learning curve: {picture}' in out
  assert picture.read_bytes().startswith(b'\x89PNG')


def test_train_is_quiet_about_the_libraries(run):
  _, out, err = run
  lines = [x for x in err.splitlines() if not x.startswith('step ')]
  assert lines == []
  for word in ('Gym', 'cuda', 'oneDNN', 'Warning', 'I0000', 'WARNING'):
    assert word not in out


def test_progress_is_plain_lines_without_a_terminal(run):
  _, _, err = run
  assert re.search(
    r'^step 4/4  loss \d+\.\d+  \d+\.\d+ bits/dim  [\d,]+ tokens/s  0:00 left$',
    err,
    re.MULTILINE,
  )
  assert '\r' not in err


def test_train_writes_scalars_and_both_configs(run):
  folder, _, _ = run
  full = (folder / 'config_full.gin').read_text()
  operative = (folder / 'config.gin').read_text()
  assert 'report.sample_length = 16' in full
  assert re.search(r'ReformerLM\.n_layers = 4', operative)
  # Defaults are in the operative config, not in what was configured.
  assert 'ReformerLM.n_micro_batches = 1' in operative
  assert 'n_micro_batches' not in full
  for part in ('train', 'eval'):
    assert list((folder / part).glob('events.out.tfevents*'))


def tags_of(folder):
  from tensorboard.backend.event_processing import event_accumulator

  events = event_accumulator.EventAccumulator(str(folder)).Reload()
  return events.Tags()


def test_scalars_can_be_read_by_tensorboard(run):
  folder, _, _ = run
  tags = str(tags_of(folder / 'eval')) + str(tags_of(folder / 'train'))
  assert 'metrics/bits_per_dim' in tags and 'training/learning_rate' in tags


def test_evaluate_gives_the_figure_of_the_report_every_time(run, capsys):
  folder, out, _ = run
  figures = set()
  for _ in range(2):
    code, line, _ = call(capsys, 'evaluate', f'--output_dir={folder}')
    assert code == 0
    figures.add(float(re.search(r'validation: ([\d.]+) bits/dim', line)[1]))
  assert len(figures) == 1
  assert abs(figures.pop() - held_out_bits(out)) < 6e-4


def test_evaluate_with_more_rounds_and_seeds(run, capsys):
  folder, _, _ = run
  code, out, _ = call(
    capsys,
    'evaluate',
    f'--output_dir={folder}',
    '--split=test',
    '--hash_seeds=3',
    *bind('trax_reformer_ext.LSHSelfAttention.n_hashes = 8'),
  )
  assert code == 0
  seeds = re.findall(r'test, hash seed (\d): ([\d.]+) bits/dim', out)
  assert [seed for seed, _ in seeds] == ['0', '1', '2']
  assert len({bits for _, bits in seeds}) > 1
  assert re.search(r'from [\d.]+ to [\d.]+ over 3 hash seeds \(standard', out)


def test_the_same_command_goes_on(run, capsys):
  folder, _, _ = run
  code, out, _ = call(
    capsys, 'train', *TINY, f'--output_dir={folder}', *bind('train.steps = 6')
  )
  assert code == 0
  assert 'steps 5 to 6' in out


def small_source(name, folder):
  """A folder with small source files of a data set."""
  folder = folder / 'source'
  folder.mkdir()
  if name == 'imagenet64':
    images = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3))
    np.savez(folder / 'imagenet64.npz', images=images.astype(np.uint8))
  else:
    (folder / 'enwik8').write_bytes(PREFIX * 3)
  return folder


@pytest.mark.parametrize(
  'name,said',
  [
    ('reformer_enwik8', 'a PREFIX of the 100,000,000'),
    ('reformer_enwik8_8gb', 'a PREFIX of the 100,000,000'),
    ('reformer_1m', 'a PREFIX of the 100,000,000'),
    ('reformer_bytes_folder', 'bytes in 1 files'),
    ('reformer_imagenet64', 'imagenet64 from plain images'),
    ('reformer_imagenet64_small', 'imagenet64 from plain images'),
    ('reformer_duplication', 'Held-out tokens (the split validation, 1,024'),
  ],
)
def test_configs_run_small(name, said, tmp_path, capsys):
  dataset = name.removeprefix('reformer_').removesuffix('_small')
  source = small_source(dataset, tmp_path)
  data_dir = tmp_path / 'data'
  if dataset in ('bytes_folder', 'enwik8', 'imagenet64'):
    where = '--path' if dataset == 'bytes_folder' else '--manual_dir'
    arguments = dataset, f'{where}={source}', f'--data_dir={data_dir}'
    assert call(capsys, 'prepare', *arguments)[0] == 0
  elif dataset in ('enwik8_8gb', '1m'):  # from the raw file
    data_dir = source
  code, out, _ = call(
    capsys,
    'train',
    f'--config_file=gin_configs/{name}.gin',
    '--config_file=gin_configs/tiny.gin',
    f'--data_dir={data_dir}',
    f'--output_dir={tmp_path / "run"}',
  )
  assert code == 0
  assert said in out
  assert held_out_bits(out) < 10
  assert (tmp_path / 'run' / 'learning_curve.png').is_file()


def test_memory_efficient_trainer_with_chunked_loss(tmp_path, capsys):
  code, out, _ = call(
    capsys,
    'train',
    *TINY,
    f'--output_dir={tmp_path}',
    *bind('train.use_memory_efficient_trainer = True'),
  )
  assert code == 0
  assert held_out_bits(out) < 9


def test_model_says_which_one_it_is(tmp_path, capsys):
  code, out, _ = call(
    capsys, 'train', *TINY, f'--output_dir={tmp_path}', '--model=ReformerLM'
  )
  assert code == 0
  assert 'Model: trax_reformer_ext.ReformerLM' in out


def test_a_model_of_trax_trains_beside_ours(tmp_path, capsys):
  """An unmodified config for Trax, with Trax's model, data and loss."""
  config = tmp_path / 'copy.gin'
  config.write_text("""
import trax.data
import trax.layers
import trax.models
import trax.optimizers
import trax.supervised.trainer_lib

sequence_copy_inputs.batch_size = 4
sequence_copy_inputs.eval_max_length = 12
sequence_copy_inputs.eval_min_length = 8
sequence_copy_inputs.pad_to_multiple = 16
sequence_copy_inputs.train_length = 16
sequence_copy_inputs.vocab_size = 32
train.eval_frequency = 2
train.eval_steps = 1
train.inputs = @trax.data.sequence_copy_inputs
train.optimizer = @trax.optimizers.Adam
train.steps = 2
TransformerLM.d_ff = 16
TransformerLM.d_model = 16
TransformerLM.max_len = 64
TransformerLM.n_heads = 2
TransformerLM.n_layers = 1
TransformerLM.vocab_size = 32
""")
  code, out, _ = call(
    capsys,
    'train',
    f'--config_file={config}',
    f'--output_dir={tmp_path / "run"}',
    '--model=TransformerLM',
  )
  assert code == 0
  assert 'Model: trax.models.TransformerLM' in out
  assert (tmp_path / 'run' / 'checkpoints' / '2').is_dir()


@pytest.mark.parametrize('command', ['train', 'evaluate'])
def test_help_has_examples(command, capsys):
  with pytest.raises(SystemExit) as stop:
    cli.main([command, '--help'])
  out = capsys.readouterr().out
  assert stop.value.code == 0
  assert 'examples:' in out and '--output_dir=runs/quickstart' in out


def test_every_flag_of_traxs_trainer_is_there(capsys):
  from absl import flags
  from trax import trainer_flags

  with pytest.raises(SystemExit):
    cli.main(['train', '--help'])
  out = capsys.readouterr().out
  for flag in flags.FLAGS.get_flags_for_module(trainer_flags.__name__):
    assert f'--{flag.name}' in out


MODEL = 'trax_reformer_ext.ReformerLM'
MISTAKES = {
  'config file': (
    ['--config_file=nowhere.gin'],
    "--config_file is 'nowhere.gin': there is no such file; shipped configs",
  ),
  'unknown parameter': (
    [*TINY, *bind(f'{MODEL}.n_layer = 2')],
    "parameter named 'n_layer'",
  ),
  'unknown name': (
    [*TINY, *bind('trax_reformer_ext.ReformerLN.n_layers = 2')],
    'try trax_reformer_ext.ReformerLM',
  ),
  'ambiguous name': (
    [*TINY, *bind('ReformerLM.n_layers = 2')],
    'trax_reformer_ext.ReformerLM',
  ),
  'ambiguous layer': (
    [*TINY, *bind('LSHSelfAttention.n_hashes = 2')],
    'trax_reformer_ext.LSHSelfAttention',
  ),
  'wrong type': (
    [*TINY, *bind(f"{MODEL}.n_layers = 'four'")],
    "ReformerLM.n_layers is 'four': give int",
  ),
  'no data': (
    [*TINY, '--dataset=enwik8', '--data_dir=/nonexistent'],
    'enwik8 is missing: looked in /nonexistent for enwik8, enwik8.zip',
  ),
  'odd n_buckets': (
    [*TINY, *bind('trax_reformer_ext.LSHSelfAttention.n_buckets = 7')],
    'LSHSelfAttention.n_buckets is 7: give an even int',
  ),
  'chunk_len': (
    [*TINY, *bind('trax_reformer_ext.LSHSelfAttention.chunk_len = 0')],
    'LSHSelfAttention.chunk_len is 0: give an int of at least 1',
  ),
  'axial shape': (
    [*TINY, *bind(f'{MODEL}.pos_axial_shape = (4, 8)')],
    'pos_axial_shape is (4, 8), for inputs of up to 32 positions',
  ),
  'axial depths': (
    [*TINY, *bind(f'{MODEL}.pos_d_axial_embs = (8, 9)')],
    'pos_d_axial_embs is (8, 9), with the sum 17: it must sum to d_model, 16',
  ),
  'max_len': (
    [*TINY, *bind(f'{MODEL}.pos_axial_shape = ()', f'{MODEL}.max_len = 60')],
    'max_len is 60, but the input has 64 positions',
  ),
  'vocabulary': (
    [*TINY, *bind(f'{MODEL}.vocab_size = 100')],
    'ReformerLM.vocab_size is 100, but the data has the token id',
  ),
  'model': (
    [*TINY, '--model=ReformerXL'],
    "--model is 'ReformerXL': give Reformer, ReformerLM of this package",
  ),
}


def assert_mistake(result, message):
  code, _, err = result
  assert code == 1
  assert err.startswith('trax-reformer: error: ')
  assert message in err
  assert len(err.splitlines()) == 1


@pytest.mark.parametrize('name', MISTAKES)
def test_mistakes_are_said_in_one_line(name, tmp_path, capsys):
  arguments, message = MISTAKES[name]
  folder = tmp_path / 'run'
  result = call(capsys, 'train', *arguments, f'--output_dir={folder}')
  assert_mistake(result, message)
  assert not (folder / 'checkpoints').exists()


@pytest.mark.parametrize(
  'arguments,message',
  [
    (['translate'], "invalid choice: 'translate'"),
    (['train', '--steps=3'], 'unrecognized arguments: --steps=3; see'),
    (['evaluate'], 'the following arguments are required: --output_dir'),
    (['train', '--use_tpu=perhaps'], "'perhaps' is not true or false"),
  ],
)
def test_mistakes_in_the_command_itself(arguments, message, capsys):
  assert_mistake(call(capsys, *arguments), message)


def test_data_that_is_something_else(tmp_path, capsys):
  (tmp_path / 'enwik8').write_bytes(b'some other file' * 1000)
  result = call(
    capsys,
    'train',
    *TINY,
    '--dataset=enwik8',
    f'--data_dir={tmp_path}',
    f'--output_dir={tmp_path / "run"}',
  )
  assert_mistake(result, 'is not enwik8: it starts with')


def contents(folder):
  files = (p for p in pathlib.Path(folder).rglob('*') if p.is_file())
  return {str(p): p.read_bytes() for p in files if 'events' not in p.name}


def test_another_models_run_is_not_overwritten(run, capsys):
  folder, _, _ = run
  before = contents(folder)
  result = call(
    capsys,
    'train',
    *TINY,
    f'--output_dir={folder}',
    *bind(f'{MODEL}.d_ff = 48'),
  )
  assert_mistake(result, "which holds another model's run")
  assert contents(folder) == before


def test_an_output_directory_that_cannot_be_written(tmp_path, capsys):
  (tmp_path / 'file').write_text('in the way')
  result = call(capsys, 'train', *TINY, f'--output_dir={tmp_path / "file"}')
  assert_mistake(result, 'is not a directory that can be written')


@pytest.mark.parametrize('name', ['missing', 'empty'])
def test_evaluate_without_a_run(name, tmp_path, capsys):
  (tmp_path / 'empty').mkdir()
  result = call(capsys, 'evaluate', f'--output_dir={tmp_path / name}')
  assert_mistake(result, 'give the directory of a run of trax-reformer train')


def test_a_damaged_checkpoint_is_named(run, tmp_path, capsys):
  folder, _, _ = run
  (tmp_path / 'config_full.gin').write_bytes(
    (folder / 'config_full.gin').read_bytes()
  )
  shutil.copytree(folder / 'checkpoints', tmp_path / 'checkpoints')
  for path in (tmp_path / 'checkpoints').glob('*/weights/manifest.ocdbt'):
    path.write_bytes(path.read_bytes()[:-1])
  result = call(capsys, 'evaluate', f'--output_dir={tmp_path}')
  assert_mistake(result, 'is damaged (weights/manifest.ocdbt is not as it was')


def test_a_damaged_file_of_traxs_is_named(run, tmp_path, capsys):
  folder, _, _ = run
  shutil.copy(folder / 'config_full.gin', tmp_path)
  (tmp_path / 'model.weights.npy.gz').write_bytes(gzip.compress(b'cut')[:-4])
  result = call(capsys, 'evaluate', f'--output_dir={tmp_path}')
  assert_mistake(result, 'model.weights.npy.gz cannot be read')


def test_ctrl_c_is_clean_and_the_terminal_has_a_bar(tmp_path):
  """A real process on a pseudo-terminal, interrupted while it trains."""
  code, said = interrupt(
    [
      'train',
      *TINY,
      f'--output_dir={tmp_path / "run"}',
      *bind('train.steps = 1000000', 'train.eval_frequency = 1000000'),
    ],
    when='tokens/s',
    seconds=120,
  )
  assert code == 130
  assert re.search(r'training:? .*\d+/1000000 .*bits/dim', said)
  assert re.search(r'trax-reformer: stopped at step \d+, which is saved', said)
  assert list((tmp_path / 'run' / 'checkpoints').glob('*/manifest.json'))
  assert 'Traceback' not in said

"""Translation by the trax-reformer command: train, generate, evaluate."""

import gzip
import pathlib
import re

import pytest
import sacrebleu

from tests import translation_run
from tests.terminal import interrupt
from tests.test_cli import assert_mistake, bind, call
from trax_reformer_ext.data import translation


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """A short run: its folder, with source files, data, and run."""
  folder = tmp_path_factory.mktemp('translation')
  data_dir = translation_run.prepare(folder)
  translation_run.train(folder, data_dir)
  return folder


def generate(capsys, trained, *arguments):
  arguments = 'generate', f'--output_dir={trained / "run"}', *arguments
  return call(capsys, *arguments)


def test_train_reports_translations(tmp_path, capsys):
  data_dir = translation_run.prepare(tmp_path)
  capsys.readouterr()
  translation_run.train(tmp_path, data_dir, *bind('train.steps = 1'))
  out = capsys.readouterr().out
  assert 'Held-out target tokens (the split validation, 5 pairs in all)' in out
  assert re.search(r'this model\s+[\d.]+ bits/token, accuracy [\d.]+', out)
  assert 'Translations of the first 4 held-out sentences:' in out
  source, target = re.search(r'source +(.*)\n +reference +(.*)', out).groups()
  assert source.upper() == target
  assert (tmp_path / 'run' / 'learning_curve.png').is_file()


@pytest.mark.parametrize(
  'name',
  [
    'reformer_multi30k',
    pytest.param('reformer_multi30k_lsh', marks=pytest.mark.slow),
    pytest.param('reversible_transformer_wmt_ende', marks=pytest.mark.slow),
    pytest.param('reversible_transformer_wmt_ende_big', marks=pytest.mark.slow),
    pytest.param('reformer_wmt_ende', marks=pytest.mark.slow),
    pytest.param('reformer_wmt_ende_big', marks=pytest.mark.slow),
  ],
)
def test_configs_run_small(name, tmp_path, capsys):
  data_dir = translation_run.prepare(tmp_path)
  code, out, _ = call(
    capsys,
    'train',
    f'--config_file=gin_configs/{name}.gin',
    '--config_file=gin_configs/tiny.gin',
    f'--data_dir={data_dir}',
    f'--output_dir={tmp_path / "run"}',
    *bind(
      "trax_reformer_ext.translation_inputs.dataset_name = 'translation'",
      'trax_reformer_ext.translation_inputs.source_language = None',
      'trax_reformer_ext.translation_inputs.target_language = None',
      'trax_reformer_ext.Reformer.input_vocab_size = 24',
    ),
  )
  assert code == 0
  assert 'Translations of the first 4 held-out sentences:' in out
  arguments = f'--output_dir={tmp_path / "run"}', f'--data_dir={data_dir}'
  code, out, _ = call(capsys, 'evaluate', *arguments, '--split=test')
  assert code == 0
  assert re.search(r'BLEU', out)


def test_generate_translates_line_by_line(trained, tmp_path, capsys):
  lines = ['a b c', '', 'h', '  ', 'd e']
  (tmp_path / 'in').write_bytes('\r\n'.join(lines).encode())
  translation._load.cache_clear()  # as in a process of its own
  code, out, err = generate(capsys, trained, f'--input_file={tmp_path / "in"}')
  assert code == 0
  # What the data says of itself is no translation.
  assert err.startswith('Data: ')
  translated = out.split('\n')
  assert translated.pop() == '' and len(translated) == len(lines)
  assert [not line for line in translated] == [not x.strip() for x in lines]

  with gzip.open(tmp_path / 'in.gz', 'wt') as f:
    f.write('\n'.join(lines) + '\n')
  files = f'--input_file={tmp_path / "in.gz"}', f'--output_file={tmp_path}/o.gz'
  assert generate(capsys, trained, *files)[:2] == (0, '')
  assert gzip.open(tmp_path / 'o.gz', 'rt').read() == out
  assert sorted(p.name for p in tmp_path.iterdir()) == ['in', 'in.gz', 'o.gz']


def test_evaluate_has_the_bleu_of_what_generate_gives(trained, capsys):
  beam = '--beam_size=2', '--length_penalty=1'
  _, translated, _ = generate(
    capsys, trained, f'--input_file={trained / "test_source.txt"}', *beam
  )
  want = sacrebleu.corpus_bleu(
    translated.splitlines(),
    [(trained / 'test_target.txt').read_text().splitlines()],
  )
  arguments = 'evaluate', f'--output_dir={trained / "run"}', '--split=test'
  code, out, _ = call(capsys, *arguments, *beam)
  assert code == 0
  assert re.search(r'test: [\d.]+ bits/dim, accuracy [\d.]+', out)
  assert (
    f'test: BLEU {want.score:.2f} over 4 sentences, beam size 2, length '
    'penalty 1 (nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:'
  ) in out
  code, out, _ = call(capsys, *arguments, '--no_bleu')
  assert code == 0 and 'bits/dim' in out and 'BLEU' not in out


def test_a_line_that_is_too_long(trained, tmp_path, capsys):
  (tmp_path / 'in').write_text('a\n' + 'b ' * 40 + '\n')
  file = f'--input_file={tmp_path / "in"}'
  code, out, err = generate(capsys, trained, file)
  assert code == 0 and len(out.splitlines()) == 2
  assert '1 of 2 lines have more than 16 tokens and were cut: line 2' in err
  result = generate(
    capsys, trained, file, '--too_long=stop', f'--output_file={tmp_path}/out'
  )
  assert result[0] == 1
  last = result[2].splitlines()[-1]
  assert re.search(r'line 2 has \d+ tokens, but max_length is 16', last)
  assert not (tmp_path / 'out').exists()


def assert_last_line_is_mistake(result, message):
  """As assert_mistake, after what the data says of itself."""
  code, out, err = result
  *said, last = err.splitlines(keepends=True)
  assert all(line.startswith('Data: ') for line in said)
  assert_mistake((code, out, last), message)


@pytest.mark.parametrize(
  'content,message',
  [
    (None, 'which cannot be read (No such file or directory)'),
    (b'a b\nb \xff\n', 'whose line 2 is not UTF-8 (byte 3 of it)'),
  ],
)
def test_an_input_that_cannot_be_read(
  content, message, trained, tmp_path, capsys
):
  path = tmp_path / 'in'
  if content is not None:
    path.write_bytes(content)
  result = generate(capsys, trained, f'--input_file={path}')
  assert_mistake(result, f'--input_file is {str(path)!r}, {message}')


def test_an_input_that_is_cut_off(trained, tmp_path, capsys):
  path = tmp_path / 'in.gz'
  path.write_bytes(gzip.compress(b'a b c\n' * 100)[:-9])
  result = generate(capsys, trained, f'--input_file={path}')
  assert_mistake(result, f'--input_file is {str(path)!r}, which cannot be read')


@pytest.mark.parametrize(
  'arguments,message',
  [
    (['--beam_size=0'], 'beam_size is 0: give an int of at least 1'),
    (['--length_penalty=-1'], 'length_penalty is -1.0: give a float'),
    (['--batch_tokens=0'], 'batch_tokens is 0: give an int of at least 1'),
    (['--max_length=33'], 'max_length is 33: give an int in [1, 32]'),
    (
      bind('trax_reformer_ext.Reformer.d_ff = 48'),
      "which holds another model's run",
    ),
    (
      bind('trax_reformer_ext.Reformer.input_vocab_size = 20'),
      'Reformer.input_vocab_size is 20, but the vocabulary has 24 ids',
    ),
  ],
)
def test_mistakes(arguments, message, trained, capsys):
  file = f'--input_file={trained / "test_source.txt"}'
  result = generate(capsys, trained, file, *arguments)
  assert_last_line_is_mistake(result, message)


def test_an_output_in_no_folder(trained, tmp_path, capsys):
  file = f'--input_file={trained / "test_source.txt"}'
  output = f'--output_file={tmp_path}/nowhere/out'
  result = generate(capsys, trained, file, output)
  assert_mistake(result, 'which cannot be written: give a file in a folder')


def test_another_vocabulary(trained, tmp_path, capsys):
  data_dir = translation_run.prepare(tmp_path, vocab_size=25)
  capsys.readouterr()
  result = generate(
    capsys,
    trained,
    f'--input_file={trained / "test_source.txt"}',
    f'--data_dir={data_dir}',
  )
  assert_last_line_is_mistake(
    result, 'Reformer.input_vocab_size is 24, but the vocabulary has 25 ids'
  )


def test_a_run_that_is_no_translation_run(trained, tmp_path, capsys):
  (tmp_path / 'config_full.gin').write_text(
    'import trax_reformer_ext\n'
    'import trax.supervised.trainer_lib\n'
    'train.model = @trax_reformer_ext.ReformerLM\n'
    'train.inputs = @trax_reformer_ext.duplication_inputs\n'
  )
  file = f'--input_file={trained / "test_source.txt"}'
  result = call(capsys, 'generate', f'--output_dir={tmp_path}', file)
  assert_last_line_is_mistake(result, 'which is no translation run')


def test_a_model_without_cached_decoding(trained, capsys):
  result = generate(
    capsys,
    trained,
    f'--input_file={trained / "test_source.txt"}',
    *bind('import trax.models', 'train.model = @trax.models.Transformer'),
  )
  assert_last_line_is_mistake(
    result, 'train.model is Transformer, which has no cached decoding'
  )


@pytest.mark.parametrize(
  'binding,message',
  [
    (
      'trax_reformer_ext.Reformer.input_vocab_size = 10',
      'Reformer.input_vocab_size is 10, but the data has the token id',
    ),
    (
      'trax_reformer_ext.Reformer.output_vocab_size = 9',
      'Reformer.output_vocab_size is 9, but the data has the token id',
    ),
    (
      'trax_reformer_ext.Reformer.loss_chunk_size = 0',
      'set Reformer.loss_chunk_size > 0, or leave train.loss_fn',
    ),
    (
      'train.loss_fn = @trax.layers.WeightedCategoryCrossEntropy()',
      'Reformer.loss_chunk_size is set: use train.loss_fn = @',
    ),
  ],
)
def test_mistakes_in_training(binding, message, trained, tmp_path, capsys):
  result = call(
    capsys,
    'train',
    f'--config_file={trained / "config.gin"}',
    f'--data_dir={trained / "data"}',
    f'--output_dir={tmp_path / "run"}',
    *bind('import trax.layers', binding),
  )
  assert_mistake(result, message)


def test_ctrl_c_leaves_nothing(trained, tmp_path):
  """A real process on a pseudo-terminal, interrupted while it translates."""
  source = trained / 'test_source.txt'
  (tmp_path / 'in').write_text(source.read_text() * 20_000)
  output = tmp_path / 'out'
  code, said = interrupt(
    [
      'generate',
      f'--output_dir={trained / "run"}',
      f'--input_file={tmp_path / "in"}',
      f'--output_file={output}',
    ],
    when='translating',
    seconds=60,
  )
  assert code == 130
  assert 'trax-reformer: stopped' in said and 'Traceback' not in said
  assert [p.name for p in pathlib.Path(tmp_path).iterdir()] == ['in']

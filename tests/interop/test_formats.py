"""Every format there and back, and files that can't be read."""

import gzip
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from safetensors import numpy as safetensors

import trax_reformer_ext as ext
from tests.interop.small import assert_same_weights, described, tokens
from tests.test_unpickling import Payload
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.interop import gin_config, huggingface, tensors
from trax_reformer_ext.training.conversion import FORMATS, convert, read

ENDS = {'safetensors': '.safetensors', 'trax': ''}


@pytest.fixture
def neutral(tmp_path):
  """Writes a small model as safetensors: (path, Description)."""

  def make(**arguments):
    description = described(**arguments)
    path = str(tmp_path / 'neutral.safetensors')
    tensors.write_model(description, path)
    return path, description

  return make


def to(form, source, tmp_path, name='converted', **options):
  """Converts, and returns the path of what was written."""
  path = str(tmp_path / f'{name}{ENDS.get(form, "")}')
  convert(source, path, form, **options)
  return path


@pytest.mark.parametrize('model', ['ReformerLM', 'Reformer'])
@pytest.mark.parametrize('form', [*FORMATS, 'one pickle'])
def test_there_and_back(model, form, neutral, tmp_path):
  path, description = neutral(model=model)
  if form == 'one pickle':
    written = str(tmp_path / 'one.pkl.gz')
    convert(path, written, 'trax')
    text = gin_config.write(model, description.arguments, '')
    found, _ = read(written, text)
  elif (model, form) == ('Reformer', 'huggingface'):
    with pytest.raises(ReformerError, match='the model is Reformer'):
      to(form, path, tmp_path)
    assert not (tmp_path / 'converted').exists()
    assert not (tmp_path / 'converted.part').exists()
    return
  else:
    found, _ = read(to(form, path, tmp_path))
  assert_same_weights(found.weights, description.weights)
  differ = {
    k for k, x in description.arguments.items() if found.arguments[k] != x
  }
  allowed = {'max_len', 'padding_id', 'pos_type', 'attention_dropout'}
  assert differ <= (allowed if form == 'huggingface' else set())


@pytest.mark.parametrize('form', ['run', 'trax'])
def test_load_model_of_every_format_gives_the_same(form, neutral, tmp_path):
  path, _ = neutral(loss_chunk_size=4)
  ids = tokens()
  expected = np.asarray(ext.load_model(path)(ids))
  assert expected.shape == (2, 16, 13)
  found = ext.load_model(to(form, path, tmp_path))(ids)
  np.testing.assert_array_equal(found, expected)


def test_load_model_takes_modes_and_arguments(neutral):
  path, _ = neutral()
  ids = tokens()
  logits = np.asarray(ext.load_model(path)(ids))
  shifted = np.pad(ids[:, :-1], [(0, 0), (1, 0)])
  unshifted = ext.load_model(path, shift_right=False)(shifted)
  np.testing.assert_allclose(unshifted, logits, atol=1e-6)
  assert len(ext.load_model(path, loss_chunk_size=4)(ids)) == 3
  predicting = ext.load_model(path, mode='predict', predict_mem_len=16)
  assert predicting(ids[:, :4]).shape == (2, 4, 13)
  more = 'trax_reformer_ext.LSHSelfAttention.n_hashes = 4'
  other = ext.load_model(path, config=more)(ids)
  assert np.abs(np.asarray(other) - logits).max() > 1e-6
  with pytest.raises(ReformerError, match="no argument 'shift': try shift_ri"):
    ext.load_model(path, shift=True)


def test_neither_torch_nor_transformers_is_imported(neutral, tmp_path):
  path, _ = neutral()
  folder = to('huggingface', path, tmp_path)
  code = (
    'import sys, trax_reformer_ext\n'
    f'trax_reformer_ext.load_model({folder!r})\n'
    'assert not {"torch", "transformers"} & set(sys.modules)\n'
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True)
  assert done.returncode == 0, done.stderr.decode()


def test_shards(neutral, tmp_path):
  path, description = neutral()
  folder = to('huggingface', path, tmp_path)
  whole = os.path.join(folder, 'model.safetensors')
  arrays = safetensors.load_file(whole)
  os.remove(whole)
  names = sorted(arrays)
  parts = {'a.safetensors': names[::2], 'b.safetensors': names[1::2]}
  for file, part in parts.items():
    safetensors.save_file(
      {k: arrays[k] for k in part}, os.path.join(folder, file)
    )
  index = {'weight_map': {k: f for f, part in parts.items() for k in part}}
  index_path = f'{whole}.index.json'

  def write(content):
    with open(index_path, 'w') as f:
      json.dump(content, f)

  write(index)
  assert_same_weights(read(folder)[0].weights, description.weights)
  write({'weight_map': {'a': '../a.safetensors'}})
  with pytest.raises(ReformerError, match="names the file '../a.safetensors'"):
    read(folder)
  write({'weight_map': {'a': 'c.safetensors'}})
  with pytest.raises(ReformerError, match='c.safetensors cannot be read'):
    read(folder)
  write({'weight_map': 3})
  with pytest.raises(ReformerError, match='has no weight_map'):
    read(folder)


def test_faulty_weights_of_hugging_face_are_listed_at_once(neutral, tmp_path):
  path, _ = neutral()
  folder = to('huggingface', path, tmp_path)
  whole = os.path.join(folder, 'model.safetensors')
  arrays = safetensors.load_file(whole)
  del arrays['reformer.encoder.layer_norm.bias'], arrays['lm_head.bias']
  del arrays['lm_head.decoder.bias']
  arrays['reformer.pooler'] = np.zeros(2, np.float32)
  name = 'reformer.encoder.layers.0.feed_forward.dense.dense.weight'
  arrays[name] = arrays[name][:, :-1].copy()
  safetensors.save_file(arrays, whole)
  with pytest.raises(ReformerError) as error:
    read(folder)
  message = str(error.value)
  for part in (
    'missing: reformer.encoder.layer_norm.bias, lm_head.bias;',
    'not of the model: reformer.pooler;',
    f'{name} (12, 7), where the model has (12, 8)',
  ):
    assert part in message
  assert '\n' not in message


def test_the_bias_that_is_in_the_logits_is_taken(neutral, tmp_path):
  path, _ = neutral()
  folder = to('huggingface', path, tmp_path)
  whole = os.path.join(folder, 'model.safetensors')
  arrays = safetensors.load_file(whole)
  arrays['lm_head.decoder.bias'] += 1
  safetensors.save_file(arrays, whole)
  description, notices = read(folder)
  np.testing.assert_array_equal(
    description.weights['projection.bias'], arrays['lm_head.decoder.bias']
  )
  assert any('is not lm_head.decoder.bias' in notice for notice in notices)


def test_a_directory_without_weights_or_with_a_damaged_config(tmp_path):
  (tmp_path / 'config.json').write_text('{"model_type": "reformer"}')
  with pytest.raises(ReformerError, match='holds no weights: it needs model.s'):
    read(str(tmp_path))
  for content in ('{"model_type"', '[1]'):
    (tmp_path / 'config.json').write_text(content)
    with pytest.raises(
      ReformerError, match='config.json (cannot|holds no JSO)'
    ):
      read(str(tmp_path))


@pytest.mark.parametrize('keep', [4, 100, 0.5, -1])
def test_truncated_safetensors(keep, neutral):
  path, _ = neutral()
  with open(path, 'rb') as f:
    content = f.read()
  n = int(keep * len(content)) if isinstance(keep, float) else keep
  with open(path, 'wb') as f:
    f.write(content[:n])
  with pytest.raises(
    ReformerError, match='cannot be read .*it is damaged'
  ) as e:
    read(path)
  assert '\n' not in str(e.value)


def test_safetensors_of_something_else(neutral):
  path, description = neutral()
  metadata = {'format': 'trax_reformer_ext', 'version': '1'}
  arguments = json.dumps(description.arguments)
  for more, message in (
    (None, 'does not say which model it is of'),
    ({'format': 'pt'}, 'does not say which model it is of'),
    ({'version': '2'}, "has the version '2', and 1 is known"),
    ({'model': 'ReformerLM'}, 'no arguments of a model that can be read'),
    ({'model': 'ReformerLM', 'arguments': '3'}, 'no arguments of a model'),
    ({'model': 'GPT', 'arguments': '{}'}, "of the model 'GPT'"),
    (
      {'model': 'ReformerLM', 'arguments': '{"n_layer": 2}'},
      "no argument 'n_layer'",
    ),
    (
      {'model': 'ReformerLM', 'arguments': arguments.replace('13', '14')},
      r'of another shape: embedding \(13, 8\), where the model has \(14, 8\), '
      'projection.kernel',
    ),
  ):
    meta = None if more is None else metadata | more
    safetensors.save_file(description.weights, path, meta)
    with pytest.raises(ReformerError, match=message) as error:
      read(path)
    assert '\n' not in str(error.value)


def test_a_pickle_with_code_is_not_run(tmp_path):
  ran = tmp_path / 'ran'
  bad = {'flat_weights': Payload(os.mkdir, str(ran))}
  path = str(tmp_path / 'model.pkl.gz')
  with gzip.open(path, 'wb') as f:
    pickle.dump(bad, f)
  config = 'trax_reformer_ext.ReformerLM.vocab_size = 13'
  with pytest.raises(ReformerError, match='would run .*mkdir'):
    ext.load_model(path, config=config)
  assert not ran.exists()
  with gzip.open(path, 'rb') as f:
    pickle.load(f)
  assert ran.exists()  # by what reads it carelessly


def test_a_file_of_torch_with_code_is_not_run(neutral, tmp_path):
  torch = pytest.importorskip(
    'torch', reason="needs pip install -e '.[huggingface]'"
  )
  path, _ = neutral()
  folder = to('huggingface', path, tmp_path)
  os.remove(os.path.join(folder, 'model.safetensors'))
  ran = tmp_path / 'ran'
  torch.save(
    {'a': Payload(os.mkdir, str(ran))},
    os.path.join(folder, 'pytorch_model.bin'),
  )
  with pytest.raises(
    ReformerError, match='pytorch_model.bin cannot be read'
  ) as e:
    read(folder)
  assert '\n' not in str(e.value)
  assert not ran.exists()


def test_a_file_of_torch_without_torch(neutral, tmp_path, monkeypatch):
  path, _ = neutral()
  folder = to('huggingface', path, tmp_path)
  os.rename(
    os.path.join(folder, 'model.safetensors'),
    os.path.join(folder, 'pytorch_model.bin'),
  )
  monkeypatch.setitem(sys.modules, 'torch', None)
  with pytest.raises(ReformerError, match=r'needs torch: pip install .*\[hugg'):
    huggingface.read(folder)


@pytest.mark.parametrize(
  'content,message',
  [
    ({'step': 3}, 'holds no flat_weights'),
    ([1, 2], 'holds no flat_weights'),
    ({'flat_weights': 2}, 'has its weights in model.weights.npy.gz, which is'),
  ],
)
def test_pickles_of_something_else(content, message, tmp_path):
  path = str(tmp_path / 'model.pkl.gz')
  with gzip.open(path, 'wb') as f:
    pickle.dump(content, f)
  with pytest.raises(ReformerError, match=message):
    read(path, 'trax_reformer_ext.ReformerLM.vocab_size = 13')
  with pytest.raises(ReformerError, match='no config.gin lies beside it: give'):
    read(path)


def test_damaged_files_of_trax(neutral, tmp_path):
  path, _ = neutral()
  folder = to('trax', path, tmp_path)
  for name in ('model.weights.npy.gz', 'model.pkl.gz'):
    file = os.path.join(folder, name)
    with open(file, 'rb') as f:
      content = f.read()
    with open(file, 'wb') as f:
      f.write(content[: len(content) // 2])
    with pytest.raises(ReformerError, match=f'{name} cannot be read'):
      read(folder)

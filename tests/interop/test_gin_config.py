"""Gin configs read as data, and written so that gin builds the same model."""

import gin
import jax
import numpy as np
import pytest
from trax import layers as tl
from trax.shapes import ShapeDtype

from tests.interop.small import LOCAL, LSH, described
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.interop import gin_config
from trax_reformer_ext.interop.weights import shapes_of
from trax_reformer_ext.training import configs, report  # noqa: F401

WIDE = LOCAL | {'chunk_len': 8}


def built_by_gin(text):
  """The model that gin itself builds."""
  configs.parse([], [text])
  return configs.configured('model')(mode='eval')


def shapes(model):
  """Shapes of the flat weights."""
  ids = ShapeDtype((1, 1), np.int32)
  weights, _ = jax.eval_shape(
    lambda: model.init(ids if model.n_in == 1 else (ids, ids))
  )
  return [w.shape for w in tl.flatten_weights_and_state(weights, ())[0]]


def attention_names(layer):
  """Names of the attention layers, which tell all of their options."""
  if 'SelfAttention(' in layer.name:
    return [layer.name]
  return sum(map(attention_names, layer.sublayers), [])


@pytest.mark.parametrize(
  'model,arguments',
  [
    ('ReformerLM', dict(padding_id=0, attention_dropout=[0.1, 0.2])),
    ('ReformerLM', dict(attention_type=[LOCAL, LSH, WIDE], n_layers=3)),
    ('ReformerLM', dict(loss_chunk_size=4, pos_axial_shape=[])),
    ('Reformer', {}),
    ('Reformer', dict(decoder_attention_type=[LSH, WIDE], ff_use_sru=[1, 4])),
  ],
)
def test_what_is_written_is_read_and_built_by_gin(model, arguments):
  description = described(model, **arguments)
  text = gin_config.write(model, description.arguments, 'A test.')
  assert gin_config.read(text, 'it') == (model, description.arguments)
  built = built_by_gin(text)
  assert shapes(built) == list(shapes_of(description).values())
  types = description.arguments.get('attention_type', [])
  found = attention_names(built)
  for i, layer in enumerate(types):
    assert f'chunk_len={layer["chunk_len"]}' in found[i]


@pytest.mark.parametrize('name', configs.shipped_configs())
def test_shipped_configs_mean_the_same_here_and_to_gin(name):
  if name == 'tiny':
    with pytest.raises(ReformerError, match='two models'):
      gin_config.read(configs.shipped_configs()[name].read_text(), name)
    return
  configs.parse([name], [])
  model, arguments = gin_config.read(gin.config_str(), name)
  expected = attention_names(built_by_gin(gin.config_str()))
  text = gin_config.write(model, arguments, name)
  assert gin_config.read(text, name) == (model, arguments)
  assert attention_names(built_by_gin(text)) == expected != []


def test_scopes_macros_and_traxs_names():
  model, arguments = gin_config.read(
    """
import trax.models
kinds = [@near/SelfAttention, @trax.layers.LSHSelfAttention]
size/macro.value = 16
ReformerLM.vocab_size = 13
ReformerLM.d_model = %size
ReformerLM.attention_type = %kinds
ReformerLM.pos_axial_shape = (4, 8)
near/SelfAttention.chunk_len = 4
SelfAttention.chunk_len = 8
SelfAttention.n_chunks_before = 1
SelfAttention.predict_mem_len = 99
LSHSelfAttention:
  n_hashes = 3
trax_reformer_ext.LSHSelfAttention.n_hashes = 5
train.model = @trax.models.ReformerLM
""",
    'it',
  )
  assert model == 'ReformerLM' and arguments['d_model'] == 16
  near, lsh = arguments['attention_type']
  assert (near['chunk_len'], near['n_chunks_before']) == (4, 1)
  assert lsh['n_hashes'] == 3
  assert arguments['pos_axial_shape'] == []  # Trax ignores it without pos_type


def test_reading_changes_nothing_and_imports_nothing(tmp_path, monkeypatch):
  (tmp_path / 'payload.py').write_text(
    f'open({str(tmp_path / "ran")!r}, "w").close()'
  )
  monkeypatch.syspath_prepend(str(tmp_path))
  gin.bind_parameter('trax_reformer_ext.ReformerLM.d_ff', 99)
  text = 'import payload\ntrax_reformer_ext.ReformerLM.vocab_size = 13\n'
  _, arguments = gin_config.read(text, 'it')
  assert arguments['d_ff'] == 2048
  assert not (tmp_path / 'ran').exists()
  assert gin.query_parameter('trax_reformer_ext.ReformerLM.d_ff') == 99


OURS = 'trax_reformer_ext.ReformerLM'


@pytest.mark.parametrize(
  'text,message',
  [
    ('', 'it has no model in its gin config'),
    ('TransformerLM.d_model = 8', 'it has no model in its gin config'),
    ('train.model = @trax.models.TransformerLM', "the model 'TransformerLM'"),
    (f'{OURS}.d_model = 8', 'does not say ReformerLM.vocab_size'),
    (f'{OURS}.n_layer = 2', "no argument 'n_layer': try n_layers"),
    (f'{OURS}.attention_type = @tl.CausalAttention', 'CausalAttention: only'),
    (f'{OURS}.attention_type = 3', 'attention_type 3: only'),
    (f'{OURS}.ff_activation = @Snake', 'ff_activation Snake: give one of'),
    (f"{OURS}.pos_type = 'time-bin'", "pos_type 'time-bin'"),
    (
      f'{OURS}.attention_type = @SelfAttention\nSelfAttention.chunks = 1',
      "SelfAttention has no argument 'chunks': try chunk_len",
    ),
    (
      f'{OURS}.attention_type = @SelfAttention\nSelfAttention.bias = True',
      'SelfAttention.bias True',
    ),
    (
      f'{OURS}.attention_type = @LSHSelfAttention\n'
      "LSHSelfAttention.ablation = 'zeroed'",
      "LSHSelfAttention.ablation 'zeroed': use None",
    ),
    ("include 'other.gin'", "includes 'other.gin', which is not followed"),
    ('a b c', 'that cannot be read'),
  ],
)
def test_mistakes(text, message):
  if 'vocab_size' not in message and OURS in text:
    text += f'\n{OURS}.vocab_size = 13'
  with pytest.raises(ReformerError, match=message) as error:
    gin_config.read(text, 'it')
  assert '\n' not in str(error.value)

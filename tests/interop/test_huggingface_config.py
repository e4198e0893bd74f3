"""Hugging Face's hyper-parameters: each mapped, or refused by name."""

import pytest

from tests.interop.published import CRIME_AND_PUNISHMENT, ENWIK8
from tests.interop.small import LOCAL, LSH, described
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.interop import huggingface_config, huggingface_export

SMALL = {'model_type': 'reformer', 'is_decoder': True}


def read(**config):
  return huggingface_config.read(SMALL | config, 'config.json')


def test_every_hyper_parameter_has_its_place():
  arguments, notices = read(
    attn_layers=['lsh', 'local', 'local'] * 2,
    attention_head_size=16,
    axial_pos_embds=True,
    axial_pos_embds_dim=[10, 14],
    axial_pos_shape=[6, 7],
    chunk_size_feed_forward=5,
    chunk_size_lm_head=9,
    feed_forward_size=48,
    hash_seed=11,
    hidden_act='gelu',
    hidden_dropout_prob=0.3,
    hidden_size=24,
    layer_norm_eps=1e-4,
    local_attention_probs_dropout_prob=0.1,
    local_attn_chunk_length=12,
    local_num_chunks_after=0,
    local_num_chunks_before=2,
    lsh_attention_probs_dropout_prob=0.2,
    lsh_attn_chunk_length=18,
    lsh_num_chunks_after=0,
    lsh_num_chunks_before=3,
    max_position_embeddings=42,
    num_attention_heads=3,
    num_buckets=[4, 6],
    num_hashes=7,
    pad_token_id=8,
    vocab_size=99,
  )
  lsh, local, _ = arguments['attention_type']
  assert lsh['layer'] == 'LSHSelfAttention'
  assert local['layer'] == 'SelfAttention'
  of_lsh = ('chunk_len', 'n_chunks_before', 'n_chunks_after', 'n_hashes')
  assert [lsh[k] for k in of_lsh] == [18, 3, 0, 7]
  assert lsh['n_buckets'] == [4, 6] and lsh['hash_seed'] == 11
  of_local = ('chunk_len', 'n_chunks_before', 'n_chunks_after')
  assert [local[k] for k in of_local] == [12, 2, 0]
  expected = dict(
    vocab_size=99,
    d_model=24,
    d_ff=48,
    d_attention_key=16,
    d_attention_value=16,
    n_layers=6,
    n_heads=3,
    dropout=0.3,
    attention_dropout=[0.2, 0.1, 0.1],
    max_len=42,
    pos_type='axial',
    pos_axial_shape=[6, 7],
    pos_d_axial_embs=[10, 14],
    ff_activation='Gelu',
    ff_chunk_size=5,
    loss_chunk_size=9,
    shift_right=True,
    causal=True,
    layer_norm_epsilon=1e-4,
    padding_id=8,
  )
  assert {k: arguments[k] for k in expected} == expected
  assert any('hash_seed 11' in notice for notice in notices)
  assert any('shift_right=False' in notice for notice in notices)


def test_without_causality_and_axes():
  arguments, notices = read(
    is_decoder=False, axial_pos_embds=False, attn_layers=['local']
  )
  assert not arguments['causal'] and not arguments['shift_right']
  assert arguments['pos_axial_shape'] == [] and not arguments['pos_type']
  assert arguments['max_len'] == 4096
  assert notices == []


@pytest.mark.parametrize(
  'config,pattern', [(ENWIK8, 4), (CRIME_AND_PUNISHMENT, 2)]
)
def test_published_configs(config, pattern):
  arguments, _ = huggingface_config.read(config, 'config.json')
  assert arguments['n_layers'] == len(config['attn_layers'])
  assert len(arguments['attention_type']) == pattern
  written, _ = huggingface_export.write('ReformerLM', arguments)
  # What is for starting weights and generation alone is not kept.
  kept = set(config) - set(huggingface_config.UNUSED)
  assert {k: written.get(k) for k in kept} == {k: config[k] for k in kept}
  assert len(kept) > 25


@pytest.mark.parametrize(
  'config,message',
  [
    (dict(model_type='bert'), "model_type 'bert', which is no Reformer"),
    (dict(model_type=None), 'model_type None, which is no Reformer'),
    (
      dict(architectures=['ReformerForQuestionAnswering']),
      'architecture ReformerForQuestionAnswering, which is no language model',
    ),
    (dict(tie_word_embeddings=True), 'tie_word_embeddings True: the head'),
    (dict(hidden_act='mish'), "hidden_act 'mish': give one of relu, gelu"),
    (dict(attn_layers=[]), 'attn_layers'),
    (dict(attn_layers=['local', 'global']), "attn_layers .*'global'"),
    (dict(axial_pos_shape=[4, 4, 4]), 'axial_pos_shape .*: give two axes'),
    (dict(hidden_size=99), r'axial_pos_embds_dim \[64, 192\]: their sum must'),
    (dict(hidden_size='big'), "hidden_size 'big': give int"),
    (dict(is_decoder=1), 'is_decoder 1: give bool'),
    (dict(num_hashes=True), 'num_hashes True: give int'),
    (dict(layer_norm_eps=None), 'layer_norm_eps None: give int or float'),
    (dict(num_buckets='many'), "num_buckets 'many'"),
    (dict(pad_token_id=[0]), r'pad_token_id \[0\]: give int or NoneType'),
  ],
)
def test_refusals(config, message):
  with pytest.raises(ReformerError, match=f'config.json has .*{message}'):
    read(**config)


def write(**arguments):
  description = described(**arguments)
  return huggingface_export.write(description.model, description.arguments)


def test_what_is_written_is_read_again():
  lsh = LSH | {'hash_seed': 5, 'n_buckets': [2, 4]}
  arguments = dict(
    attention_type=[LOCAL, lsh],
    attention_dropout=[0.1, 0.2],
    layer_norm_epsilon=1e-5,
    padding_id=3,
    loss_chunk_size=4,
  )
  config, notices = write(**arguments)
  expected = described(**arguments).arguments
  found, _ = huggingface_config.read(config, 'config.json')
  differ = {k for k in expected if found[k] != expected[k]}
  assert differ <= {'pos_type', 'max_len'}  # axial, of 32 positions
  assert found['max_len'] == 32
  assert any('hash_seed 5' in notice for notice in notices)
  assert any('lm_head.bias' in notice for notice in notices)
  assert any('start with the id 0' in notice for notice in notices)


def test_a_model_that_is_not_causal_is_one_of_masked_tokens():
  config, _ = write(causal=False, shift_right=False)
  assert config['architectures'] == ['ReformerForMaskedLM']
  assert config['is_decoder'] is False


STRICT = LSH | {'strictly_causal': True}


@pytest.mark.parametrize(
  'arguments,message',
  [
    (dict(d_attention_value=8), 'd_attention_key is 4 and d_attention_value 8'),
    (dict(ff_use_sru=1), 'ff_use_sru is 1'),
    (dict(reversible=False), 'ReformerLM.reversible is False'),
    (dict(pos_type='sin-cos', pos_axial_shape=[]), "pos_type is 'sin-cos'"),
    (dict(ff_activation='Softplus'), 'ff_activation is Softplus'),
    (
      dict(attention_type=[LOCAL, STRICT]),
      'LSHSelfAttention.strictly_causal is True.*accept other outputs by --con'
      "fig='trax_reformer_ext.LSHSelfAttention.strictly_causal = False'",
    ),
    (
      dict(strictly_causal=True),
      "--config='trax_reformer_ext.ReformerLM.strictly_causal = False'",
    ),
    (
      dict(attention_type=[LSH | {'exact_attention_below': 9}]),
      'exact_attention_below is 9',
    ),
    (
      dict(attention_type=[LOCAL | {'wrap': False}], causal=False),
      'SelfAttention.wrap is False',
    ),
    (dict(attention_type=[LSH | {'wrap': False}]), 'LSHSelfAttention.wrap is'),
    (
      dict(attention_type=[{'layer': 'SelfAttention'}]),
      'SelfAttention.chunk_len is None, exact',
    ),
    (
      dict(attention_type=[LOCAL | {'share_qk': True}]),
      'SelfAttention.share_qk is True',
    ),
    (
      dict(attention_type=[LOCAL, LOCAL | {'chunk_len': 8}]),
      'SelfAttention has other options in different layers',
    ),
    (
      dict(attention_type=[LOCAL, LOCAL], attention_dropout=[0.1, 0.2]),
      'attention_dropout is .* one rate for all local layers',
    ),
    (
      dict(pos_axial_shape=[2, 2, 8], pos_d_axial_embs=[2, 2, 4]),
      r'pos_axial_shape is \(2, 2, 8\): Hugging Face has two axes',
    ),
  ],
)
def test_what_hugging_face_does_not_have_is_named(arguments, message):
  with pytest.raises(ReformerError, match=message) as error:
    write(**arguments)
  assert '\n' not in str(error.value)


def test_an_encoder_decoder_is_refused():
  description = described('Reformer')
  with pytest.raises(ReformerError, match='the model is Reformer, but Hugg'):
    huggingface_export.write('Reformer', description.arguments)


def test_causal_local_attention_looks_nowhere_around_the_edge():
  config, _ = write(attention_type=[LOCAL | {'wrap': False}])
  assert config['attn_layers'] == ['local', 'local']


def test_every_field_of_transformers_is_known():
  transformers = pytest.importorskip(
    'transformers', reason="needs pip install -e '.[huggingface]'"
  )
  general = set(transformers.PreTrainedConfig().to_dict())
  fields = set(transformers.ReformerConfig().to_dict()) - general
  known = {*huggingface_config.DEFAULTS, *huggingface_config.UNUSED}
  assert fields <= known
  assert len(fields) > 25

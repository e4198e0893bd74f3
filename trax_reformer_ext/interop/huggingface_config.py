"""Hugging Face's ReformerConfig as arguments of ReformerLM."""

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.interop.description import complete

# As transformers' ReformerConfig has them.
DEFAULTS = {
  'attention_head_size': 64,
  'attn_layers': ['local', 'lsh'] * 3,
  'axial_pos_embds': True,
  'axial_pos_embds_dim': [64, 192],
  'axial_pos_shape': [64, 64],
  'chunk_size_feed_forward': 0,
  'chunk_size_lm_head': 0,
  'feed_forward_size': 512,
  'hash_seed': None,
  'hidden_act': 'relu',
  'hidden_dropout_prob': 0.05,
  'hidden_size': 256,
  'is_decoder': False,
  'layer_norm_eps': 1e-12,
  'local_attention_probs_dropout_prob': 0.05,
  'local_attn_chunk_length': 64,
  'local_num_chunks_after': 0,
  'local_num_chunks_before': 1,
  'lsh_attention_probs_dropout_prob': 0.0,
  'lsh_attn_chunk_length': 64,
  'lsh_num_chunks_after': 0,
  'lsh_num_chunks_before': 1,
  'max_position_embeddings': 4096,
  'num_attention_heads': 12,
  'num_buckets': None,
  'num_hashes': 1,
  'pad_token_id': 0,
  'tie_word_embeddings': False,
  'vocab_size': 320,
}
# Of initial weights, heads of classification and generation.
UNUSED = (
  *('axial_norm_std', 'initializer_range', 'classifier_dropout'),
  *('bos_token_id', 'eos_token_id', 'use_cache', 'num_hidden_layers'),
)
ARCHITECTURES = ('ReformerModelWithLMHead', 'ReformerForMaskedLM')
ACTIVATIONS = {
  'relu': 'Relu',
  'gelu': 'Gelu',
  'gelu_python': 'Gelu',
  'gelu_new': 'FastGelu',
  'gelu_fast': 'FastGelu',
  'gelu_accurate': 'FastGelu',
  'gelu_pytorch_tanh': 'FastGelu',
  'gelu_python_tanh': 'FastGelu',
  'leaky_relu': 'LeakyRelu',
  'sigmoid': 'Sigmoid',
  'silu': 'Swish',
  'swish': 'Swish',
  'tanh': 'Tanh',
}


def read(config, where):
  """Arguments of ReformerLM.

  Args:
    config: dict, the content of config.json.
    where: str, its path.

  Returns:
    (arguments as of Description, list of notices).

  Raises:
    ReformerError: no language model of this kind, or a value that can't be
      had, by name.
  """
  _check_architecture(config, where)
  values = DEFAULTS | {k: v for k, v in config.items() if k in DEFAULTS}
  _check_types(values, where)
  layers = values['attn_layers']
  _refuse(
    not layers or not set(layers) <= {'local', 'lsh'},
    where,
    ('attn_layers', layers),
    "give a list of 'local' and 'lsh'",
  )
  _refuse(
    values['tie_word_embeddings'],
    where,
    ('tie_word_embeddings', True),
    'the head takes twice as many features as the embedding has, so they '
    'cannot be the same; set it to false',
  )
  activation = values['hidden_act']
  _refuse(
    activation not in ACTIVATIONS,
    where,
    ('hidden_act', activation),
    f'give one of {", ".join(ACTIVATIONS)}',
  )
  shape = values['axial_pos_shape']
  axial = values['axial_pos_embds']
  _refuse(
    axial and not len(shape) == len(values['axial_pos_embds_dim']) == 2,
    where,
    ('axial_pos_shape', shape),
    'give two axes, and two axial_pos_embds_dim',
  )
  depths = values['axial_pos_embds_dim']
  _refuse(
    axial and sum(depths) != values['hidden_size'],
    where,
    ('axial_pos_embds_dim', depths),
    f'their sum must be hidden_size, {values["hidden_size"]}',
  )
  pattern = _period(layers)
  rates = [values[f'{k}_attention_probs_dropout_prob'] for k in pattern]
  causal = bool(values['is_decoder'])
  arguments = dict(
    vocab_size=values['vocab_size'],
    d_model=values['hidden_size'],
    d_ff=values['feed_forward_size'],
    d_attention_key=values['attention_head_size'],
    d_attention_value=values['attention_head_size'],
    n_layers=len(layers),
    n_heads=values['num_attention_heads'],
    dropout=values['hidden_dropout_prob'],
    attention_dropout=rates[0] if len(set(rates)) == 1 else rates,
    max_len=values['max_position_embeddings'],
    attention_type=[_layer(kind, values) for kind in pattern],
    pos_type='axial' if axial else None,
    pos_axial_shape=list(shape) if axial else [],
    pos_d_axial_embs=list(depths) if axial else None,
    ff_activation=ACTIVATIONS[activation],
    ff_chunk_size=values['chunk_size_feed_forward'],
    loss_chunk_size=values['chunk_size_lm_head'],
    layer_norm_epsilon=values['layer_norm_eps'],
    padding_id=values['pad_token_id'],
    shift_right=causal,
    causal=causal,
  )
  notices = []
  if 'lsh' in layers:
    seed = values['hash_seed']
    was = 'drawn anew each time there' if seed is None else f'hash_seed {seed}'
    notices.append(
      f'the hash rotations are {was}; here they are those of hash_seed '
      f'{seed or 0} outside of training, reproducible but other ones'
    )
  if causal:
    notices.append(
      'the inputs are shifted right here, so that position n predicts token n; '
      'shift_right=False gives the logits as transformers has them'
    )
  return complete('ReformerLM', arguments, where), notices


def _check_architecture(config, where):
  kind = config.get('model_type')
  if kind != 'reformer':
    raise ReformerError(
      f'{where} has the model_type {kind!r}, which is no Reformer: give a '
      "model of the type 'reformer'"
    )
  names = config.get('architectures') or [ARCHITECTURES[0]]
  if not set(names) & set(ARCHITECTURES):
    raise ReformerError(
      f'{where} has the architecture {", ".join(names)}, which is no language '
      f'model: give one of {" or ".join(ARCHITECTURES)}'
    )


def _check_types(values, where):
  kinds = {
    bool: (bool,),
    int: (int,),
    float: (int, float),
    str: (str,),
    list: (list, tuple),
    type(None): (int, list, tuple, type(None)),
  }
  for name, value in values.items():
    allowed = kinds[type(DEFAULTS[name])]
    if name == 'pad_token_id':
      allowed = (int, type(None))
    is_bool = isinstance(value, bool) and bool not in allowed
    if is_bool or not isinstance(value, allowed):
      names = ' or '.join(kind.__name__ for kind in allowed)
      _refuse(True, where, (name, value), f'give {names}')


def _refuse(condition, where, item, advice):
  if condition:
    name, value = item
    raise ReformerError(f'{where} has {name} {value!r}: {advice}')


def _layer(kind, values):
  layer = {
    'layer': {'local': 'SelfAttention', 'lsh': 'LSHSelfAttention'}[kind],
    'chunk_len': values[f'{kind}_attn_chunk_length'],
    'n_chunks_before': values[f'{kind}_num_chunks_before'],
    'n_chunks_after': values[f'{kind}_num_chunks_after'],
  }
  if kind == 'lsh':
    layer['n_hashes'] = values['num_hashes']
    layer['n_buckets'] = values['num_buckets']
    layer['hash_seed'] = values['hash_seed'] or 0
  return layer


def _period(layers):
  """The shortest list that gives the layers when it is repeated."""
  n = len(layers)
  return next(
    list(layers[:k])
    for k in range(1, n + 1)
    if n % k == 0 and list(layers[:k]) * (n // k) == list(layers)
  )

"""Hugging Face's ReformerConfig as arguments of ReformerLM, and back."""

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.interop.description import complete

# As transformers' ReformerConfig has them.
_DEFAULTS = {
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
MAPPED = tuple(_DEFAULTS)
_ARCHITECTURES = ('ReformerModelWithLMHead', 'ReformerForMaskedLM')
_ACTIVATIONS = {
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
# What a model of Hugging Face's always does, by name of our argument.
_FIXED = {
  'ff_use_sru': (0,),
  'loss_sparsity': (0, None),
  'loss_sparsity_prob': (None,),
  'pos_type': (None, '', 'axial'),
}
_FIXED_OPTIONS = {
  'attend_across_buckets': True,
  'allow_duplicate_attention': True,
  'strictly_causal': False,
  'wrap': True,
  'exact_attention_below': 0,
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
  values = _DEFAULTS | {k: v for k, v in config.items() if k in _DEFAULTS}
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
    activation not in _ACTIVATIONS,
    where,
    ('hidden_act', activation),
    f'give one of {", ".join(_ACTIVATIONS)}',
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
    ff_activation=_ACTIVATIONS[activation],
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


def write(model, arguments):
  """The content of a config.json that transformers builds the model from.

  Args:
    model: str, name of the model.
    arguments: dict, as of Description.

  Returns:
    (dict, list of notices).

  Raises:
    ReformerError: something that Hugging Face's Reformer does not have, by
      name.
  """
  if model != 'ReformerLM':
    raise ReformerError(
      f'the model is {model}, but Hugging Face has language models alone: give '
      'another --format'
    )
  for name, allowed in _FIXED.items():
    _check_fixed(f'ReformerLM.{name}', arguments[name], allowed)
  if arguments['d_attention_key'] != arguments['d_attention_value']:
    raise ReformerError(
      f'ReformerLM.d_attention_key is {arguments["d_attention_key"]} and '
      f'd_attention_value {arguments["d_attention_value"]}: Hugging Face has '
      'one attention_head_size for both'
    )
  shape = arguments['pos_axial_shape']
  if shape and len(shape) != 2:
    raise ReformerError(
      f'ReformerLM.pos_axial_shape is {tuple(shape)}: Hugging Face has two axes'
    )
  layers, kinds = _kinds(arguments)
  rates = arguments['attention_dropout']
  rates = rates if isinstance(rates, list) else [rates] * len(layers)
  rates = [arguments['dropout'] if rate is None else rate for rate in rates]
  causal = arguments['causal']
  config = _DEFAULTS | {
    'architectures': [_ARCHITECTURES[0 if causal else 1]],
    'attention_head_size': arguments['d_attention_key'],
    'attn_layers': layers * (arguments['n_layers'] // len(layers)),
    'axial_pos_embds': bool(shape),
    'bos_token_id': 0 if arguments['shift_right'] else None,
    'chunk_size_feed_forward': arguments['ff_chunk_size'],
    'chunk_size_lm_head': arguments['loss_chunk_size'],
    'dtype': 'float32',
    'eos_token_id': None,
    'feed_forward_size': arguments['d_ff'],
    'hidden_act': _activation(arguments['ff_activation']),
    'hidden_dropout_prob': arguments['dropout'],
    'hidden_size': arguments['d_model'],
    'is_decoder': causal,
    'layer_norm_eps': arguments['layer_norm_epsilon'],
    'max_position_embeddings': arguments['max_len'],
    'model_type': 'reformer',
    'num_attention_heads': arguments['n_heads'],
    'num_hidden_layers': arguments['n_layers'],
    'pad_token_id': arguments['padding_id'] or 0,
    'vocab_size': arguments['vocab_size'],
  }
  if shape:
    config['axial_pos_shape'] = shape
    config['axial_pos_embds_dim'] = arguments['pos_d_axial_embs']
    config['max_position_embeddings'] = shape[0] * shape[1]
  for kind, layer in kinds.items():
    of_kind = {r for r, k in zip(rates, layers, strict=True) if k == kind}
    if len(of_kind) > 1:
      raise ReformerError(
        f'ReformerLM.attention_dropout is {arguments["attention_dropout"]}: '
        f'Hugging Face has one rate for all {kind} layers'
      )
    config[f'{kind}_attention_probs_dropout_prob'] = of_kind.pop()
    config[f'{kind}_attn_chunk_length'] = layer['chunk_len']
    config[f'{kind}_num_chunks_before'] = layer['n_chunks_before']
    config[f'{kind}_num_chunks_after'] = layer['n_chunks_after']
  if 'lsh' in kinds:
    config['num_hashes'] = kinds['lsh']['n_hashes']
    config['num_buckets'] = kinds['lsh']['n_buckets']
    config['hash_seed'] = kinds['lsh']['hash_seed'] or None
  return config, _notices(arguments, kinds, config)


def _notices(arguments, kinds, config):
  notices = [
    'transformers 5.23 leaves lm_head.bias out of the logits; later ones take '
    'lm_head.decoder.bias, and both are written'
  ]
  if config['hash_seed'] is not None:
    notices.append(
      f'hash_seed {config["hash_seed"]} gives other hash rotations there'
    )
  elif 'lsh' in kinds:
    notices.append('the hash rotations are drawn anew at each call there')
  if arguments['shift_right']:
    notices.append(
      'the inputs are shifted right here and not there: let them start with '
      'the id 0 (bos_token_id)'
    )
  return notices


def _check_architecture(config, where):
  kind = config.get('model_type')
  if kind != 'reformer':
    raise ReformerError(
      f'{where} has the model_type {kind!r}, which is no Reformer: give a '
      "model of the type 'reformer'"
    )
  names = config.get('architectures') or [_ARCHITECTURES[0]]
  if not set(names) & set(_ARCHITECTURES):
    raise ReformerError(
      f'{where} has the architecture {", ".join(names)}, which is no language '
      f'model: give one of {" or ".join(_ARCHITECTURES)}'
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
    allowed = kinds[type(_DEFAULTS[name])]
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


def _check_fixed(name, value, allowed):
  if value not in allowed:
    raise ReformerError(
      f"{name} is {value!r}, which Hugging Face's Reformer does not have: give "
      'another --format, or accept other outputs by '
      f"--config='trax_reformer_ext.{name} = {allowed[0]!r}'"
    )


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


def _kinds(arguments):
  """Kinds of the layers of a pattern, and what each kind's options are."""
  names, kinds = [], {}
  for layer in arguments['attention_type']:
    name = layer['layer']
    options = {k: v for k, v in layer.items() if k != 'n_parallel_heads'}
    for option, value in _FIXED_OPTIONS.items():
      if option in options:
        of_model = arguments.get(option)
        found = options[option] if of_model is None else of_model
        # A causal look back from the first chunk to the last finds nothing.
        if (
          not (option == 'wrap' and name == 'SelfAttention')
          or not (arguments['causal'])
        ):
          owner = name if of_model is None else 'ReformerLM'
          _check_fixed(f'{owner}.{option}', found, (value,))
        options[option] = value
    if name == 'SelfAttention':
      _check_local(options)
    kind = {'SelfAttention': 'local', 'LSHSelfAttention': 'lsh'}[name]
    if kinds.setdefault(kind, options) != options:
      raise ReformerError(
        f'{name} has other options in different layers: Hugging Face has one '
        f'set for all {kind} layers'
      )
    names.append(kind)
  return names, kinds


def _check_local(options):
  if options['chunk_len'] is None:
    raise ReformerError(
      'SelfAttention.chunk_len is None, exact attention: Hugging Face has '
      'local and LSH attention alone; give another --format'
    )
  if options['share_qk']:
    raise ReformerError(
      'SelfAttention.share_qk is True: local attention of Hugging Face has '
      'keys of its own; give another --format'
    )


def _activation(name):
  for theirs, ours in _ACTIVATIONS.items():
    if ours == name:
      return theirs
  raise ReformerError(
    f'ReformerLM.ff_activation is {name}: Hugging Face has '
    f'{", ".join(dict.fromkeys(_ACTIVATIONS.values()))}'
  )


def _period(layers):
  """The shortest list that gives the layers when it is repeated."""
  n = len(layers)
  return next(
    list(layers[:k])
    for k in range(1, n + 1)
    if n % k == 0 and list(layers[:k]) * (n // k) == list(layers)
  )

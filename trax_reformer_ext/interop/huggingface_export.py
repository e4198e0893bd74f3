"""Arguments of ReformerLM as Hugging Face's ReformerConfig."""

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.interop.huggingface_config import (
  ACTIVATIONS,
  ARCHITECTURES,
  DEFAULTS,
)

# What a model of Hugging Face's always does, by name of our argument.
_FIXED = {
  'ff_use_sru': (0,),
  'loss_sparsity': (0, None),
  'loss_sparsity_prob': (None,),
  'pos_type': (None, '', 'axial'),
  'reversible': (True,),
}
_FIXED_OPTIONS = {
  'attend_across_buckets': True,
  'allow_duplicate_attention': True,
  'strictly_causal': False,
  'wrap': True,
  'exact_attention_below': 0,
}


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
  config = DEFAULTS | {
    'architectures': [ARCHITECTURES[0 if causal else 1]],
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


def _check_fixed(name, value, allowed):
  if value not in allowed:
    raise ReformerError(
      f"{name} is {value!r}, which Hugging Face's Reformer does not have: give "
      'another --format, or accept other outputs by '
      f"--config='trax_reformer_ext.{name} = {allowed[0]!r}'"
    )


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
  for theirs, ours in ACTIVATIONS.items():
    if ours == name:
      return theirs
  raise ReformerError(
    f'ReformerLM.ff_activation is {name}: Hugging Face has '
    f'{", ".join(dict.fromkeys(ACTIVATIONS.values()))}'
  )

"""The reversible blocks that models are stacked from."""

import inspect
from typing import NamedTuple

from trax import layers as tl
from trax.models.research import configurable_transformer as ct

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.layers import (
  Chunked,
  ChunkedFeedForward,
  EncDecAttention,
  ReversibleHalfResidual,
  ReversibleSerial,
  ReversibleSwap,
)
from trax_reformer_ext.layers.normalisation import (
  LayerNorm,
  check_activation_dtype,
)

_STATEFUL_TRAX_ATTENTION = (
  'LSHSelfAttention',
  'PureLSHSelfAttention',
  'PureLSHSelfAttentionWrapper',
  'MixedLSHSelfAttention',
)


class Block(NamedTuple):
  """What the blocks of one stack have in common.

  Attributes:
    model: str, name of the model.
    d_model: int, depth of each half of the two-part features.
    d_ff: int, depth of the feed-forward layer.
    d_qk: int, depth of queries and keys.
    d_v: int, depth of values.
    n_heads: int, number of heads.
    dropout: float, rate.
    ff_activation: function that returns a layer.
    ff_dropout: float, rate after the first feed-forward layer, or None for
      dropout.
    ff_use_sru: int, or pair of ints: SRU layers beside the feed-forward.
    ff_chunk_size: int, positions in a slice of the feed-forward, and of the
      normalisation before attention; 0 for all.
    mode: 'train', 'eval' or 'predict'.
    longest: int, how many positions the model has.
    predict_mem_len: int, the longest sequence in mode 'predict'; None for
      longest.
    options: dict, further arguments for attention types that take them.
    attention_dropout: float, rate for attention weights; None for dropout.
    layer_norm_epsilon: float, added to variances.
    activation_dtype: str, of attention and feed-forward.
  """

  model: str
  d_model: int
  d_ff: int
  d_qk: int
  d_v: int
  n_heads: int
  dropout: float
  ff_activation: object
  ff_dropout: float | None
  ff_use_sru: object
  ff_chunk_size: int
  mode: str
  longest: int
  predict_mem_len: int | None
  options: dict
  attention_dropout: float | None = None
  layer_norm_epsilon: float = 1e-6
  activation_dtype: str = 'float32'


def decoder_block(attention_type, block, causal, masked=False):
  """Returns a reversible decoder block: attention, swap, feed-forward, swap.

  Args:
    attention_type: constructor of a self-attention layer.
    block: Block.
    causal: bool.
    masked: bool.

  Returns:
    A list of layers that maps (x1, x2) to (y1, y2), or with masked (x1, x2,
    mask) to (y1, y2, mask), mask bool [batch, length], True at real tokens.
  """
  attention = _self_attention(attention_type, block, causal, masked)
  return [
    *_attention_half(attention, 'Decoder', block),
    *_feed_forward_half('Decoder', block),
  ]


def encoder_block(attention_type, block):
  """Returns a reversible encoder block: attention, swap, feed-forward, swap.

  Args:
    attention_type: constructor of a self-attention layer.
    block: Block.

  Returns:
    A list of layers that maps (x1, x2, mask) to (y1, y2, mask), mask bool
    [batch, length], True at real tokens.
  """
  attention = _self_attention(attention_type, block, causal=False, masked=True)
  return [
    *_attention_half(attention, 'Encoder', block),
    *_feed_forward_half('Encoder', block),
  ]


def encoder_decoder_block(attention_type, block):
  """Returns a reversible decoder block with attention to an encoder's output.

  Self-attention, attention to the source and feed-forward, each followed by a
  swap.

  Args:
    attention_type: constructor of a self-attention layer.
    block: Block.

  Returns:
    A list of layers that maps (x1, x2, source, source_mask, target_mask) to
    (y1, y2, source, source_mask, target_mask). The target_mask is taken by
    attention that padding at the end would disturb before it: LSH without
    strictly_causal, which cuts the sorted sequence into chunks.
  """
  attention = _self_attention(attention_type, block, causal=True, masked=False)
  masked = block.mode != 'predict' and not getattr(
    attention, 'is_strictly_causal', True
  )
  if masked:
    attention = _self_attention(attention_type, block, causal=True, masked=True)
  to_source = EncDecAttention(
    n_heads=block.n_heads,
    d_qk=block.d_qk,
    d_v=block.d_v,
    attention_dropout=block.dropout,
    output_dropout=block.dropout,
    mode=block.mode,
  )
  # The mask of the target lies behind the source and its mask.
  select = [tl.Select([0, 3], n_in=4)] if masked else []
  return [
    *_attention_half(attention, 'Causal', block, *select),
    *_attention_half(to_source, 'EncDec', block),
    *_feed_forward_half('EncDec', block),
  ]


def stack(
  make_block,
  types,
  n_layers,
  *,
  store_activations_below,
  mode,
  reversible=True,
):
  """Returns a reversible stack of blocks, whose attention types take turns.

  Args:
    make_block: function from an attention type to a list of reversible layers.
    types: list of attention types; n_layers is a multiple of its length.
    n_layers: int, number of blocks.
    store_activations_below: int, as of ReversibleSerial.
    mode: 'train', 'eval' or 'predict'.
    reversible: bool; False for ordinary residual layers of the same weights,
      whose two parts are one.
  """
  n_repeats = n_layers // len(types)
  blocks = [make_block(t) for _ in range(n_repeats) for t in types]
  if not reversible:
    one_part, two_parts = tl.Select([0], n_in=2), tl.Dup()
    halves = [
      layer.ordinary()
      for block in blocks
      for layer in block
      if isinstance(layer, ReversibleHalfResidual)
    ]
    return tl.Serial(one_part, halves, two_parts)
  return ReversibleSerial(
    blocks,
    n_repeats=n_repeats,
    store_activations_below=store_activations_below,
    mode=mode,
  )


def check_types(model, n_layers, n_name, types, name):
  """Returns attention types as a list, after a check that they fit a stack.

  Args:
    model: str, name of the model.
    n_layers: int, depth of the stack.
    n_name: str, name of the parameter with the depth.
    types: constructor, or list of constructors that is repeated.
    name: str, name of the parameter with the types.

  Raises:
    ReformerError: a depth that is no multiple of the number of types.
  """
  types = list(types) if isinstance(types, (list, tuple)) else [types]
  if n_layers % len(types):
    raise ReformerError(
      f'{model}.{n_name} is {n_layers}, but {name} lists {len(types)} types: '
      f'give a multiple of {len(types)}'
    )
  return types


def check_options(model, attention_types, options):
  """Refuses options that none of the attention types takes.

  Args:
    model: str, name of the model.
    attention_types: list of constructors.
    options: dict from name to value; None stands for the layer's own.

  Returns:
    dict, the options that are given.

  Raises:
    ReformerError: an option that would be ignored.
  """
  options = {k: v for k, v in options.items() if v is not None}
  for name, value in options.items():
    if not any(name in _parameters(t) for t in attention_types):
      names = sorted({_name(t) for t in attention_types})
      raise ReformerError(
        f'{model}.{name} is {value!r}, but no attention_type takes it '
        f'({", ".join(names)}): leave it None or use LSHSelfAttention'
      )
  return options


def check_positive(model, **values):
  """Refuses sizes that are no ints of at least 1, by name."""
  for name, value in values.items():
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
      raise ReformerError(
        f'{model}.{name} is {value!r}: give an int of at least 1'
      )


def check_loss_chunk_size(model, loss_chunk_size):
  """Refuses a negative number of positions."""
  if loss_chunk_size < 0:
    raise ReformerError(
      f'{model}.loss_chunk_size is {loss_chunk_size}: give an int of at least '
      '0 (0: no slices)'
    )


def check_dense(model, ff_sparsity):
  """Refuses sparse feed-forward layers."""
  if ff_sparsity:
    raise ReformerError(
      f'{model}.ff_sparsity is {ff_sparsity!r}: the feed-forward is dense '
      'here; use 0'
    )


def _attention_half(layer, name, block, *before):
  """Attention to normalised features as a half-residual, and a swap."""
  check_activation_dtype(block.model, block.activation_dtype)
  normalised = LayerNorm(
    epsilon=block.layer_norm_epsilon, activation_dtype=block.activation_dtype
  )
  half = ReversibleHalfResidual(
    Chunked(normalised, block.ff_chunk_size),
    *before,
    attention_layer=layer,
    name=f'ReversibleHalfResidual{name}Attn',
  )
  return [half, ReversibleSwap()]


def _feed_forward_half(name, block):
  """The feed-forward layer as a half-residual, and a swap."""
  half = ReversibleHalfResidual(
    _feed_forward(block), name=f'ReversibleHalfResidual{name}FF'
  )
  return [half, ReversibleSwap()]


def _self_attention(attention_type, block, causal, masked):
  name = _name(attention_type)
  if _module(attention_type).startswith('trax.'):
    if name in _STATEFUL_TRAX_ATTENTION:
      raise ReformerError(
        f'{block.model}.attention_type is trax.layers.{name}, which keeps '
        'buckets in its state: use trax_reformer_ext.LSHSelfAttention'
      )
  parameters = _parameters(attention_type)
  if 'd_qk' not in parameters:
    # Trax's simpler layers, such as trax.layers.CausalAttention.
    if masked:
      raise ReformerError(
        f'{block.model}.padding_id is set, but attention_type is {name}, which '
        'takes no mask: leave it None, or use SelfAttention or LSHSelfAttention'
      )
    return attention_type(
      block.d_model,
      n_heads=block.n_heads,
      dropout=block.dropout,
      mode=block.mode,
    )
  optional = dict(block.options)
  if block.mode == 'predict' and causal:
    optional['predict_mem_len'] = block.predict_mem_len or block.longest
    optional['max_length_for_buckets'] = block.longest
  return attention_type(
    n_heads=block.n_heads,
    d_qk=block.d_qk,
    d_v=block.d_v,
    causal=causal,
    masked=masked,
    attention_dropout=block.dropout
    if block.attention_dropout is None
    else block.attention_dropout,
    output_dropout=block.dropout,
    mode=block.mode,
    **{k: v for k, v in optional.items() if k in parameters},
  )


def _feed_forward(block):
  if block.ff_use_sru:
    if block.activation_dtype != 'float32':
      raise ReformerError(
        f'{block.model}.activation_dtype is {block.activation_dtype!r} with '
        f"ff_use_sru {block.ff_use_sru}: SRU layers have 'float32'"
      )
    return ct.FeedForwardWithOptions(
      block.d_model,
      block.d_ff,
      block.dropout,
      [-2],
      block.ff_activation,
      block.dropout if block.ff_dropout is None else block.ff_dropout,
      block.ff_chunk_size,
      block.ff_use_sru,
      0,
      True,
      block.mode,
    )
  return ChunkedFeedForward(
    block.d_model,
    block.d_ff,
    chunk_size=block.ff_chunk_size,
    activation=block.ff_activation,
    dropout=block.dropout,
    ff_dropout=block.ff_dropout,
    layer_norm_epsilon=block.layer_norm_epsilon,
    activation_dtype=block.activation_dtype,
    mode=block.mode,
  )


def _unwrapped(attention_type):
  return inspect.unwrap(getattr(attention_type, 'func', attention_type))


def _name(attention_type):
  return getattr(_unwrapped(attention_type), '__name__', repr(attention_type))


def _module(attention_type):
  return getattr(_unwrapped(attention_type), '__module__', None) or ''


def _parameters(attention_type):
  # A scope of gin hides the arguments of a class behind its metaclass.
  if inspect.isclass(attention_type):
    attention_type = attention_type.__init__
  return inspect.signature(attention_type).parameters

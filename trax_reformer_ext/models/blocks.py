"""The reversible blocks that models are stacked from."""

import inspect

from trax import layers as tl
from trax.models.research import configurable_transformer as ct

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.layers import (
  AxialPositionalEncoding,
  ChunkedFeedForward,
  PositionalEncoding,
  ReversibleHalfResidual,
  ReversibleSwap,
)

_STATEFUL_TRAX_ATTENTION = (
  'LSHSelfAttention',
  'PureLSHSelfAttention',
  'PureLSHSelfAttentionWrapper',
  'MixedLSHSelfAttention',
)


def decoder_block(
  attention_type,
  *,
  d_model,
  d_ff,
  d_qk,
  d_v,
  n_heads,
  dropout,
  ff_activation,
  ff_use_sru,
  ff_chunk_size,
  causal,
  mode,
  options,
):
  """Returns a reversible decoder block: attention, swap, feed-forward, swap.

  Args:
    attention_type: constructor of a self-attention layer.
    d_model: int, depth of each half of the two-part features.
    d_ff: int, depth of the feed-forward layer.
    d_qk: int, depth of queries and keys.
    d_v: int, depth of values.
    n_heads: int, number of heads.
    dropout: float, rate.
    ff_activation: function that returns a layer.
    ff_use_sru: int, or pair of ints: SRU layers beside the feed-forward.
    ff_chunk_size: int, positions in a slice of the feed-forward; 0 for all.
    causal: bool.
    mode: 'train' or 'eval'.
    options: dict, further arguments for attention types that take them.

  Returns:
    A list of layers that maps (x1, x2) to (y1, y2).
  """
  attention = _make_attention(
    attention_type,
    dict(
      n_heads=n_heads,
      d_qk=d_qk,
      d_v=d_v,
      causal=causal,
      masked=False,
      attention_dropout=dropout,
      output_dropout=dropout,
      mode=mode,
    ),
    options,
    d_model,
  )
  if ff_use_sru:
    feed_forward = ct.FeedForwardWithOptions(
      d_model,
      d_ff,
      dropout,
      [-2],
      ff_activation,
      dropout,
      ff_chunk_size,
      ff_use_sru,
      0,
      True,
      mode,
    )
  else:
    feed_forward = ChunkedFeedForward(
      d_model,
      d_ff,
      chunk_size=ff_chunk_size,
      activation=ff_activation,
      dropout=dropout,
      mode=mode,
    )
  return [
    ReversibleHalfResidual(
      tl.LayerNorm(),
      attention_layer=attention,
      name='ReversibleHalfResidualDecoderAttn',
    ),
    ReversibleSwap(),
    ReversibleHalfResidual(
      feed_forward, name='ReversibleHalfResidualDecoderFF'
    ),
    ReversibleSwap(),
  ]


def check_options(attention_types, options):
  """Refuses options that none of the attention types takes.

  Args:
    attention_types: list of constructors.
    options: dict from name to value.

  Raises:
    ReformerError: an option that would be ignored.
  """
  for name, value in options.items():
    if not any(name in _parameters(t) for t in attention_types):
      names = sorted({_name(t) for t in attention_types})
      raise ReformerError(
        f'ReformerLM.{name} is {value!r}, but no attention_type takes it '
        f'({", ".join(names)}): leave it None or use LSHSelfAttention'
      )


def positional_encoding(
  *,
  mode,
  dropout,
  max_len,
  pos_type,
  pos_axial_shape,
  pos_d_axial_embs,
  pos_start_from_zero_prob,
  pos_max_offset_to_add,
):
  """Returns the positional encoding that the arguments ask for.

  As Trax, but pos_axial_shape with pos_type None means axial encoding (Trax
  ignores it there). Arguments as of ReformerLM.
  """
  axial = pos_type in (None, '', 'axial') and pos_axial_shape
  if axial:
    if not pos_d_axial_embs:
      raise ReformerError(
        f'ReformerLM.pos_axial_shape is {pos_axial_shape} and pos_d_axial_embs '
        f'is {pos_d_axial_embs}: give the depth of every axis'
      )
    return AxialPositionalEncoding(
      shape=pos_axial_shape,
      d_embs=pos_d_axial_embs,
      dropout_broadcast_dims=tuple(range(1, len(pos_axial_shape) + 1)),
      dropout=dropout,
      mode=mode,
    )
  if not pos_type:
    return PositionalEncoding(
      max_len=max_len,
      dropout=dropout,
      start_from_zero_prob=pos_start_from_zero_prob,
      max_offset_to_add=pos_max_offset_to_add,
      mode=mode,
    )
  known = ('sin-cos', 'fixed-base', 'infinite', 'infinite-affine', 'time-bin')
  if pos_type not in known + ('no',):
    raise ReformerError(
      f'ReformerLM.pos_type is {pos_type!r}: give None, {", ".join(known)}, '
      'no, or axial with pos_axial_shape and pos_d_axial_embs'
    )
  return ct.PositionalEncoder(mode, dropout, max_len, pos_type)


def _make_attention(attention_type, arguments, options, d_model):
  name = _name(attention_type)
  if _module(attention_type).startswith('trax.'):
    if name in _STATEFUL_TRAX_ATTENTION:
      raise ReformerError(
        f'ReformerLM.attention_type is trax.layers.{name}, which keeps buckets '
        'in its state: use trax_reformer_ext.LSHSelfAttention'
      )
  parameters = _parameters(attention_type)
  if 'd_qk' in parameters:
    taken = {k: v for k, v in options.items() if k in parameters}
    return attention_type(**arguments, **taken)
  # Trax's simpler layers, such as trax.layers.CausalAttention.
  return attention_type(
    d_model,
    n_heads=arguments['n_heads'],
    dropout=arguments['attention_dropout'],
    mode=arguments['mode'],
  )


def _unwrapped(attention_type):
  return inspect.unwrap(getattr(attention_type, 'func', attention_type))


def _name(attention_type):
  return getattr(_unwrapped(attention_type), '__name__', repr(attention_type))


def _module(attention_type):
  return getattr(_unwrapped(attention_type), '__module__', None) or ''


def _parameters(attention_type):
  return inspect.signature(attention_type).parameters

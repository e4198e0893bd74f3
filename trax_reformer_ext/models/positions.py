"""Positional encodings as the arguments of a model ask for them."""

import math

from trax.models.research import configurable_transformer as ct

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.layers import (
  AxialPositionalEncoding,
  PositionalEncoding,
)


def positional_encoding(
  model,
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
  ignores it there).

  Args:
    model: str, name of the model.
    **: as of ReformerLM.

  Returns:
    A layer that maps [batch, length, d_model] to the same shape.

  Raises:
    ReformerError: arguments that do not go together.
  """
  if _is_axial(pos_type, pos_axial_shape):
    if not pos_d_axial_embs:
      raise ReformerError(
        f'{model}.pos_axial_shape is {pos_axial_shape} and pos_d_axial_embs '
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
      f'{model}.pos_type is {pos_type!r}: give None, {", ".join(known)}, '
      'no, or axial with pos_axial_shape and pos_d_axial_embs'
    )
  return ct.PositionalEncoder(mode, dropout, max_len, pos_type)


def longest_input(max_len, pos_type, pos_axial_shape):
  """How many positions the encoding has."""
  if _is_axial(pos_type, pos_axial_shape):
    return math.prod(pos_axial_shape)
  return max_len


def _is_axial(pos_type, pos_axial_shape):
  return pos_type in (None, '', 'axial') and pos_axial_shape

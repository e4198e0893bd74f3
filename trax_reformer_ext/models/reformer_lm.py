"""The Reformer language model."""

import gin
from trax import layers as tl
from trax.layers import base

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.layers import (
  Chunked,
  MicroBatches,
  SelfAttention,
  SlicedLogits,
)
from trax_reformer_ext.layers._common import check_mode
from trax_reformer_ext.layers.normalisation import LayerNorm
from trax_reformer_ext.models.blocks import (
  Block,
  check_dense,
  check_loss_chunk_size,
  check_options,
  check_positive,
  check_types,
  decoder_block,
  stack,
)
from trax_reformer_ext.models.positions import (
  longest_input,
  positional_encoding,
)


@gin.configurable(module='trax_reformer_ext')
def ReformerLM(
  vocab_size,
  d_model=512,
  d_ff=2048,
  d_attention_key=64,
  d_attention_value=64,
  n_layers=6,
  n_heads=8,
  dropout=0.1,
  max_len=2048,
  attention_type=SelfAttention,
  pos_type=None,
  pos_axial_shape=(),
  pos_d_axial_embs=None,
  pos_start_from_zero_prob=1.0,
  pos_max_offset_to_add=0,
  ff_activation=tl.FastGelu,
  ff_use_sru=0,
  ff_chunk_size=0,
  ff_sparsity=0,
  loss_sparsity_type='mult',
  loss_sparsity=0,
  loss_d_lowrank=0,
  loss_sparsity_prob=None,
  attention_chunk_size=0,
  loss_chunk_size=0,
  attend_across_buckets=None,
  allow_duplicate_attention=None,
  strictly_causal=None,
  wrap=None,
  exact_attention_below=None,
  store_activations_below=0,
  shift_right=True,
  causal=True,
  attention_dropout=None,
  layer_norm_epsilon=1e-6,
  padding_id=None,
  n_micro_batches=1,
  predict_mem_len=None,
  reversible=True,
  activation_dtype='float32',
  mode='train',
):
  """Returns a reversible language model (Kitaev et al. 2020).

  Maps token ids int32 [batch, length] to logits [batch, length, vocab_size];
  with loss_chunk_size > 0 to three arrays from which the matching loss
  computes them in slices. Any length and batch size, in memory that does not
  grow with the number of layers. The weights are those of
  trax.models.ReformerLM with the same arguments, in the same order.

  Args:
    vocab_size: int, number of token ids.
    d_model: int, depth of each half of the two-part features.
    d_ff: int, depth of the feed-forward layer.
    d_attention_key: int, depth of queries and keys of each head.
    d_attention_value: int, depth of values of each head.
    n_layers: int, number of decoder blocks.
    n_heads: int, number of attention heads.
    dropout: float, rate of all dropouts; without attention_dropout also of
      that of attention weights.
    max_len: int, longest input of the learned positional encoding.
    attention_type: constructor of the attention layer, or a list of them that
      is repeated over the layers.
    pos_type: None (axial if pos_axial_shape is given, otherwise learned),
      'axial', 'sin-cos', 'fixed-base', 'infinite', 'infinite-affine',
      'time-bin' or 'no', as in Trax.
    pos_axial_shape: tuple of ints, the axes of the axial encoding; their
      product is the longest input.
    pos_d_axial_embs: tuple of ints, depth of each axis; they sum to d_model.
    pos_start_from_zero_prob: float, how often training starts at position 0
      (learned encoding).
    pos_max_offset_to_add: int, the largest offset otherwise.
    ff_activation: function that returns the non-linearity's layer.
    ff_use_sru: int or (n_layers, n_units), SRU layers beside the feed-forward.
    ff_chunk_size: int, positions in a slice of the feed-forward; 0 for all.
    ff_sparsity: must be 0.
    loss_sparsity_type: as trax.layers.SparseDenseWithOptions.
    loss_sparsity: as trax.layers.SparseDenseWithOptions.
    loss_d_lowrank: as trax.layers.SparseDenseWithOptions.
    loss_sparsity_prob: as trax.layers.SparseDenseWithOptions.
    attention_chunk_size: accepted for Trax's configs, without effect: as much
      of the batch is attended together as fits the processor's caches.
    loss_chunk_size: int; if > 0, projection, softmax and cross-entropy run
      together on slices of this many positions, by train.loss_fn =
      @trax_reformer_ext.ChunkedCrossEntropyLoss() and train.metrics =
      @trax_reformer_ext.Metrics() with Metrics.chunked = True. The outputs
      are x [n_slices, batch, slice, 2 * d_model], kernel and bias.
    attend_across_buckets: as of LSHSelfAttention; None leaves the layer's.
    allow_duplicate_attention: as of LSHSelfAttention; None leaves the layer's.
    strictly_causal: as of LSHSelfAttention; None leaves the layer's.
    wrap: as of LSHSelfAttention and SelfAttention; None leaves the layer's.
    exact_attention_below: as of LSHSelfAttention; None leaves the layer's.
    store_activations_below: int, inputs shorter than this are differentiated
      with stored activations: faster, in memory that grows with depth.
    shift_right: bool, predict each token from those before it.
    causal: bool, no attention to later positions.
    attention_dropout: float, rate for attention weights, or a list of them
      that takes turns as attention_type does; None for dropout.
    layer_norm_epsilon: float, added to the variance in all normalisations.
    padding_id: int, id of tokens that are padding: no other position attends
      to them. None where there are none; without effect in mode 'predict'.
    n_micro_batches: int, parts of the batch that are computed one after
      another; their gradients add up. For batches that do not fit, at the
      price of one more forward pass.
    predict_mem_len: int, the longest sequence in mode 'predict'; None for the
      longest that the positional encoding takes.
    reversible: bool; False for the ordinary residual layers that the paper
      compares with (figure 3): x + f(x) on one part of d_model features, which
      stands for both parts above the stack. The weights are the same.
    activation_dtype: 'float32', or 'bfloat16' for what attention and
      feed-forward layers compute with. Weights, the residual streams that are
      reconstructed, normalisation, softmax and loss are float32.
    mode: 'train', 'eval' or 'predict'. In 'predict' the inputs are not
      shifted: the first call takes the start (id 0) and a prompt, later ones
      go on from there, by caches in the state.

  Returns:
    A Trax layer.

  Raises:
    ReformerError: arguments that the model can't do, by name.
  """
  del attention_chunk_size
  model = 'ReformerLM'
  check_mode(model, mode)
  check_positive(
    model,
    vocab_size=vocab_size,
    d_model=d_model,
    d_ff=d_ff,
    n_layers=n_layers,
    n_heads=n_heads,
    n_micro_batches=n_micro_batches,
  )
  check_dense(model, ff_sparsity)
  types = check_types(
    model, n_layers, 'n_layers', attention_type, 'attention_type'
  )
  rates = _rates(attention_dropout, types)
  _check_padding(padding_id, vocab_size)
  masked = padding_id is not None and mode != 'predict'
  _check_epsilon(layer_norm_epsilon, ff_use_sru)
  options = check_options(
    model,
    types,
    dict(
      attend_across_buckets=attend_across_buckets,
      allow_duplicate_attention=allow_duplicate_attention,
      strictly_causal=strictly_causal,
      wrap=wrap,
      exact_attention_below=exact_attention_below,
    ),
  )
  block = Block(
    model=model,
    d_model=d_model,
    d_ff=d_ff,
    d_qk=d_attention_key,
    d_v=d_attention_value,
    n_heads=n_heads,
    dropout=dropout,
    ff_activation=ff_activation,
    ff_dropout=None,
    ff_use_sru=ff_use_sru,
    ff_chunk_size=ff_chunk_size,
    mode=mode,
    longest=longest_input(max_len, pos_type, pos_axial_shape),
    predict_mem_len=predict_mem_len,
    options=options,
    layer_norm_epsilon=layer_norm_epsilon,
    activation_dtype=activation_dtype,
  )
  projection = _projection(
    vocab_size,
    d_model,
    loss_chunk_size,
    sparsity_type=loss_sparsity_type,
    sparsity=loss_sparsity,
    d_lowrank=loss_d_lowrank,
    prob_sparse=loss_sparsity_prob,
    mode=mode,
  )
  # The mask of padding, where it is taken, goes below all else.
  is_token = base.Fn('IsToken', lambda ids: ids != padding_id)
  body = [
    tl.Branch([], is_token) if masked else [],
    tl.ShiftRight(mode=mode) if shift_right else [],
    tl.Embedding(vocab_size, d_model),
    tl.Dropout(rate=dropout, shared_axes=[-2], mode=mode),
    positional_encoding(
      model,
      mode=mode,
      dropout=dropout,
      max_len=max_len,
      pos_type=pos_type,
      pos_axial_shape=pos_axial_shape,
      pos_d_axial_embs=pos_d_axial_embs,
      pos_start_from_zero_prob=pos_start_from_zero_prob,
      pos_max_offset_to_add=pos_max_offset_to_add,
    ),
    tl.Dup(),
    stack(
      lambda attention: decoder_block(
        attention[0],
        block._replace(attention_dropout=attention[1]),
        causal,
        masked,
      ),
      list(zip(types, rates, strict=True)),
      n_layers,
      store_activations_below=store_activations_below,
      mode=mode,
      reversible=reversible,
    ),
    Chunked(
      tl.Serial(tl.Concatenate(), LayerNorm(epsilon=layer_norm_epsilon)),
      loss_chunk_size,
    ),
    tl.Dropout(rate=dropout, shared_axes=[-2], mode=mode),
    tl.Select([0], n_in=2) if masked else [],
  ]
  if n_micro_batches > 1:
    body = [MicroBatches(tl.Serial(body), n_micro_batches)]
  return tl.Serial(body, projection)


def _rates(attention_dropout, types):
  """The rate for attention weights of each of the types, None for dropout."""
  if not isinstance(attention_dropout, (list, tuple)):
    return [attention_dropout] * len(types)
  if len(attention_dropout) != len(types):
    raise ReformerError(
      f'ReformerLM.attention_dropout is {attention_dropout}, but there are '
      f'{len(types)} types of attention: give one rate for all, or {len(types)}'
    )
  return list(attention_dropout)


def _check_padding(padding_id, vocab_size):
  is_id = isinstance(padding_id, int) and 0 <= padding_id < vocab_size
  if padding_id is not None and not is_id:
    raise ReformerError(
      f'ReformerLM.padding_id is {padding_id!r}: give an id in [0, '
      f'{vocab_size}), or None'
    )


def _check_epsilon(epsilon, ff_use_sru):
  if not 0 < epsilon < 1:
    raise ReformerError(
      f'ReformerLM.layer_norm_epsilon is {epsilon}: give a number between 0 '
      'and 1'
    )
  if ff_use_sru and epsilon != 1e-6:
    raise ReformerError(
      f'ReformerLM.layer_norm_epsilon is {epsilon} with ff_use_sru '
      f'{ff_use_sru}: SRU layers have 1e-6; set one of them to its default'
    )


def _projection(vocab_size, d_model, chunk_size, *, sparsity_type, **sparse):
  check_loss_chunk_size('ReformerLM', chunk_size)
  is_sparse = sparse['sparsity'] and sparsity_type not in (None, 'None')
  if chunk_size and (is_sparse or sparse['prob_sparse'] is not None):
    raise ReformerError(
      f'ReformerLM.loss_chunk_size is {chunk_size} with loss_sparsity '
      f'{sparse["sparsity"]} and loss_sparsity_prob {sparse["prob_sparse"]}: '
      'slices need the dense projection; set one of them to 0 or None'
    )
  if sparse['d_lowrank'] and not (is_sparse and sparsity_type == 'lowrank'):
    raise ReformerError(
      f'ReformerLM.loss_d_lowrank is {sparse["d_lowrank"]} with '
      f'loss_sparsity_type {sparsity_type!r} and loss_sparsity '
      f"{sparse['sparsity']}: it needs 'lowrank' and a loss_sparsity > 0"
    )
  if chunk_size:
    return SlicedLogits(vocab_size, chunk_size)
  if not is_sparse and sparse['prob_sparse'] is None:
    return tl.Dense(vocab_size)
  return tl.SparseDenseWithOptions(
    vocab_size, d_input=2 * d_model, sparsity_type=sparsity_type, **sparse
  )

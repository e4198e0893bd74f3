"""The Reformer: a reversible encoder and decoder."""

import gin
from trax import layers as tl
from trax.layers import base

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.layers import (
  MicroBatches,
  OncePerSource,
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
  encoder_block,
  encoder_decoder_block,
  stack,
)
from trax_reformer_ext.models.positions import (
  longest_input,
  positional_encoding,
)


@gin.configurable(module='trax_reformer_ext')
def Reformer(
  input_vocab_size,
  output_vocab_size=None,
  d_model=512,
  d_ff=2048,
  n_encoder_layers=6,
  n_decoder_layers=6,
  n_heads=8,
  dropout=0.1,
  max_len=2048,
  ff_activation=tl.Relu,
  ff_dropout=None,
  mode='train',
  pos_type=None,
  pos_axial_shape=None,
  pos_d_axial_embs=None,
  ff_use_sru=0,
  ff_chunk_size=0,
  ff_sparsity=0,
  encoder_attention_type=SelfAttention,
  decoder_attention_type=SelfAttention,
  loss_chunk_size=0,
  attend_across_buckets=None,
  allow_duplicate_attention=None,
  strictly_causal=None,
  wrap=None,
  exact_attention_below=None,
  store_activations_below=0,
  n_micro_batches=1,
  predict_mem_len=None,
  activation_dtype='float32',
):
  """Returns a reversible encoder-decoder (Kitaev et al. 2020).

  Maps (source int32 [batch, n_source], target int32 [batch, n_target]) to
  (logits [batch, n_target, vocabulary], target); with loss_chunk_size > 0 the
  logits are three arrays from which the matching loss computes them in slices.
  The logits at a position are those of its own token, given the tokens before
  it and the source. Any lengths, in memory that does not grow with the number
  of layers. The id 0 is padding: in the source it is never attended, at the
  end of the target it changes nothing before it. The weights are those of
  trax.models.Reformer with the same arguments, in the same order.

  Args:
    input_vocab_size: int, number of token ids of the source.
    output_vocab_size: int, number of token ids of the target; None for the
      source's, with one embedding for both.
    d_model: int, depth of each half of the two-part features; each head has
      d_model // n_heads of it.
    d_ff: int, depth of the feed-forward layer.
    n_encoder_layers: int, number of encoder blocks.
    n_decoder_layers: int, number of decoder blocks.
    n_heads: int, number of attention heads.
    dropout: float, rate of all dropouts.
    max_len: int, longest source or target of the learned positional encoding.
    ff_activation: function that returns the non-linearity's layer.
    ff_dropout: float, rate after the first feed-forward layer; None for
      dropout.
    mode: 'train', 'eval' or 'predict'. In 'predict' the target is not shifted:
      the first call takes the start (id 0) and a prompt, later ones go on from
      there. The source is encoded by the first call alone.
    pos_type: as of ReformerLM.
    pos_axial_shape: as of ReformerLM.
    pos_d_axial_embs: as of ReformerLM.
    ff_use_sru: int or (n_layers, n_units), SRU layers beside the feed-forward.
    ff_chunk_size: int, positions in a slice of the feed-forward; 0 for all.
    ff_sparsity: must be 0.
    encoder_attention_type: constructor of the encoder's self-attention layer,
      or a list of them that is repeated over the layers.
    decoder_attention_type: the same of the decoder, whose self-attention is
      causal. Attention from the decoder to the source is exact.
    loss_chunk_size: int, as of ReformerLM.
    attend_across_buckets: as of LSHSelfAttention; None leaves the layer's.
    allow_duplicate_attention: as of LSHSelfAttention; None leaves the layer's.
    strictly_causal: as of LSHSelfAttention, for the decoder; None leaves the
      layer's.
    wrap: as of LSHSelfAttention and SelfAttention; None leaves the layer's.
    exact_attention_below: as of LSHSelfAttention; None leaves the layer's.
    store_activations_below: int, as of ReformerLM.
    n_micro_batches: int, as of ReformerLM.
    predict_mem_len: int, the longest target in mode 'predict'; None for the
      longest that the positional encoding takes.
    activation_dtype: str, as of ReformerLM.

  Returns:
    A Trax layer.

  Raises:
    ReformerError: arguments that the model can't do, by name.
  """
  model = 'Reformer'
  check_mode(model, mode)
  check_positive(
    model,
    input_vocab_size=input_vocab_size,
    d_model=d_model,
    d_ff=d_ff,
    n_encoder_layers=n_encoder_layers,
    n_decoder_layers=n_decoder_layers,
    n_heads=n_heads,
    n_micro_batches=n_micro_batches,
  )
  if output_vocab_size is not None:
    check_positive(model, output_vocab_size=output_vocab_size)
  check_dense(model, ff_sparsity)
  if d_model % n_heads:
    raise ReformerError(
      f'{model}.n_heads is {n_heads}, but d_model is {d_model}: give a divisor '
      'of d_model'
    )
  check_loss_chunk_size(model, loss_chunk_size)
  encoder_types = check_types(
    model,
    n_encoder_layers,
    'n_encoder_layers',
    encoder_attention_type,
    'encoder_attention_type',
  )
  decoder_types = check_types(
    model,
    n_decoder_layers,
    'n_decoder_layers',
    decoder_attention_type,
    'decoder_attention_type',
  )
  check_options(model, decoder_types, dict(strictly_causal=strictly_causal))
  options = check_options(
    model,
    encoder_types + decoder_types,
    dict(
      attend_across_buckets=attend_across_buckets,
      allow_duplicate_attention=allow_duplicate_attention,
      wrap=wrap,
      exact_attention_below=exact_attention_below,
    ),
  )

  encoder_mode = 'eval' if mode == 'predict' else mode
  in_embedder = _embedder(input_vocab_size, d_model, dropout, encoder_mode)
  out_embedder = in_embedder
  if output_vocab_size is None:
    output_vocab_size = input_vocab_size
  else:
    out_embedder = _embedder(output_vocab_size, d_model, dropout, mode)
  encode_positions = lambda mode: positional_encoding(
    model,
    mode=mode,
    dropout=dropout,
    max_len=max_len,
    pos_type=pos_type,
    pos_axial_shape=pos_axial_shape,
    pos_d_axial_embs=pos_d_axial_embs,
    pos_start_from_zero_prob=1.0,
    pos_max_offset_to_add=0,
  )
  block = Block(
    model=model,
    d_model=d_model,
    d_ff=d_ff,
    d_qk=d_model // n_heads,
    d_v=d_model // n_heads,
    n_heads=n_heads,
    dropout=dropout,
    ff_activation=ff_activation,
    ff_dropout=ff_dropout,
    ff_use_sru=ff_use_sru,
    ff_chunk_size=ff_chunk_size,
    mode=encoder_mode,
    longest=longest_input(max_len, pos_type, pos_axial_shape),
    predict_mem_len=predict_mem_len,
    options=options,
    activation_dtype=activation_dtype,
  )

  encoder = tl.Serial(
    in_embedder,
    encode_positions(encoder_mode),
    tl.Dup(),
    stack(
      lambda attention_type: encoder_block(attention_type, block),
      encoder_types,
      n_encoder_layers,
      store_activations_below=store_activations_below,
      mode=encoder_mode,
    ),
    _average(),
    LayerNorm(),
  )
  if mode == 'predict':
    encoder = OncePerSource(encoder)

  if strictly_causal is not None:
    options = options | {'strictly_causal': strictly_causal}
  decoder_options = block._replace(mode=mode, options=options)
  decoder = stack(
    lambda attention_type: encoder_decoder_block(
      attention_type, decoder_options
    ),
    decoder_types,
    n_decoder_layers,
    store_activations_below=store_activations_below,
    mode=mode,
  )
  # The target's mask goes behind the source and its mask, where it is taken.
  masked = decoder.n_in > 4
  bring_target = [tl.Select([2, 0, 1])]
  if masked:
    bring_target = [
      tl.Select([2, 0, 1, 2]),
      tl.Parallel([], [], [], _is_token()),
    ]
  body = tl.Serial(  # source target
    tl.Branch([], _is_token()),  # source mask target
    encoder,  # vectors mask target
    bring_target,  # target vectors mask [target_mask]
    tl.ShiftRight(mode=mode),
    out_embedder,
    encode_positions(mode),
    tl.Dup(),  # x1 x2 vectors mask [target_mask]
    decoder,
    _average(),
    LayerNorm(),
    tl.Select([0], n_in=4 if masked else 3),
  )
  if n_micro_batches > 1:
    body = MicroBatches(body, n_micro_batches)
  if loss_chunk_size:
    projection = SlicedLogits(output_vocab_size, loss_chunk_size)
  else:
    projection = tl.Dense(output_vocab_size)
  return tl.Serial(tl.Select([0, 1, 1]), body, projection)


def _embedder(vocab_size, d_model, dropout, mode):
  return [
    tl.Embedding(vocab_size, d_model),
    tl.Dropout(rate=dropout, shared_axes=[-2], mode=mode),
  ]


def _average():
  return base.Fn('Average', lambda x, y: (x + y) / 2)


def _is_token():
  return base.Fn('IsToken', lambda ids: ids != 0)

"""Attention from a decoder to an encoder's output."""

from trax_reformer_ext.layers._attention import (
  Attention,
  from_heads,
  to_heads,
)
from trax_reformer_ext.layers._common import configurable
from trax_reformer_ext.layers.per_source import PerSource
from trax_reformer_ext.ops.full_attention import full_attention


@configurable
class EncDecAttention(Attention):
  """Multi-head attention from one sequence to another one (exact).

  Maps (x [batch, length, d_model], source [batch, n_source, d_source]) and,
  with masked=True, a mask bool [batch, n_source], True at real tokens, to
  [batch, length, d_model]. Queries are taken in blocks, so that no [length,
  n_source] matrix is kept for the backward pass. Weights as
  trax.layers.EncDecAttention's: w_q [n_heads, d_model, d_qk], w_k [n_heads,
  d_source, d_qk], w_v [n_heads, d_source, d_v], w_o [n_heads, d_v, d_model].

  Masked tokens get no weight. (Trax 1.4.1 masks all of them, and gives each
  the weight 1.) With nothing but masked tokens the result is zero.

  In mode 'predict' the first call keeps keys and values of the source; later
  ones use these whatever their second input is.
  """

  def __init__(
    self,
    n_heads=2,
    d_qk=64,
    d_v=64,
    masked=True,
    mode='train',
    attention_dropout=0.0,
    output_dropout=0.0,
    n_parallel_heads=None,
    use_python_loop=False,
    use_reference_code=False,
  ):
    """Creates the layer.

    Args:
      n_heads: int, number of heads.
      d_qk: int, depth of queries and keys.
      d_v: int, depth of values.
      masked: bool, take a mask of the source as a third input.
      mode: 'train', 'eval' or 'predict'; dropout is active in 'train'.
      attention_dropout: float, rate for attention weights.
      output_dropout: float, rate for features of the output.
      n_parallel_heads: int, heads whose queries, keys and values exist at the
        same time; None for as many as take 128 MiB.
      use_python_loop: accepted for Trax's configs, without effect.
      use_reference_code: accepted for Trax's configs, without effect.

    Raises:
      ReformerError: an argument that the layer can't do, by name.
    """
    del use_python_loop, use_reference_code
    super().__init__(
      n_heads,
      d_qk,
      d_v,
      False,
      masked,
      mode,
      attention_dropout,
      output_dropout,
      False,
      {},
      n_in=3 if masked else 2,
      n_parallel_heads=n_parallel_heads,
    )

  def _depths(self):
    return [self._d_qk, self._d_qk, self._d_v]

  def _projected(self, inputs):
    x, source = inputs[:2]
    return [x, source, source]

  def _heads(self, inputs, weights):
    x, source, *mask = inputs
    return super()._heads((x, source.astype(x.dtype), *mask), weights)

  def _attend(self, heads, mask, attend_rng, constants, saved):
    del constants, saved
    dropout = dict(dropout=self._attention_dropout, dropout_rng=attend_rng)
    return full_attention(*heads, mask, **dropout), ()

  def _forward_cached(self, inputs):
    if not isinstance(self.state, PerSource):
      _, *keys_and_values = self._heads(inputs, self.weights)
      self.state = PerSource((keys_and_values, self._mask(inputs)))
    (keys, values), mask = self.state.state
    q = to_heads(inputs[0], self.weights[0])
    out = full_attention(q, keys, values, mask)
    return from_heads(out, self.weights[-1])

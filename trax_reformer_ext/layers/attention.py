"""Self-attention layers: full and local."""

from trax_reformer_ext.layers._attention import Attention
from trax_reformer_ext.layers._checks import (
  cache_size,
  check_chunks,
  check_predict,
)
from trax_reformer_ext.layers._common import check, configurable
from trax_reformer_ext.ops import cached_attention
from trax_reformer_ext.ops.full_attention import full_attention
from trax_reformer_ext.ops.local_attention import local_attention


@configurable
class SelfAttention(Attention):
  """Multi-head self-attention, full or (with chunk_len) local.

  Maps [batch, length, d_model], or with masked=True a pair with a mask bool
  [batch, length], to [batch, length, d_model]. Full attention keeps no
  [length, length] matrix; local attention sees a chunk and its neighbours,
  and takes any length. Weights as trax.layers.SelfAttention's: w_q, w_k (not
  with share_qk) and w_v [n_heads, d_model, depth], w_o [n_heads, d_v,
  d_model].
  """

  def __init__(
    self,
    n_heads=2,
    d_qk=64,
    d_v=64,
    share_qk=False,
    causal=False,
    masked=False,
    chunk_len=None,
    n_chunks_before=0,
    n_chunks_after=0,
    bias=False,
    mode='train',
    predict_mem_len=None,
    predict_drop_len=None,
    attention_dropout=0.0,
    output_dropout=0.0,
    n_parallel_heads=None,
    use_python_loop=False,
    use_reference_code=False,
    wrap=True,
    implementation='auto',
  ):
    """Creates the layer.

    Args:
      n_heads: int, number of heads.
      d_qk: int, depth of queries and keys.
      d_v: int, depth of values.
      share_qk: bool, keys are the length-normalised queries, and a token sees
        itself only where it may see nothing else.
      causal: bool, no attention to later positions.
      masked: bool, take a mask as a second input.
      chunk_len: int, tokens in a chunk of local attention; None for full.
      n_chunks_before: int, chunks before its own that a token sees.
      n_chunks_after: int, chunks after its own.
      bias: must be False.
      mode: 'train', 'eval' or 'predict'; dropout is active in 'train'.
      predict_mem_len: int, the longest sequence in mode 'predict'; local
        attention has no limit and needs none.
      predict_drop_len: accepted for Trax's configs, without effect.
      attention_dropout: float, rate for attention weights.
      output_dropout: float, rate for features of the output.
      n_parallel_heads: int, heads whose queries, keys and values exist at the
        same time; None for as many as take 128 MiB.
      use_python_loop: accepted for Trax's configs, without effect.
      use_reference_code: accepted for Trax's configs, without effect.
      wrap: bool, local attention: the first chunk follows the last one, as in
        Trax; False ends the look at the edges of the sequence.
      implementation: what computes local attention: 'auto', the fused kernel
        on a GPU that runs it and XLA's operations elsewhere; 'xla' or 'fused'
        for one of them; 'interpreted', the kernel's program by JAX's
        operations, for tests.

    Raises:
      ReformerError: an argument that the layer can't do, by name.
    """
    del predict_drop_len, use_python_loop, use_reference_code
    limit = predict_mem_len if chunk_len is None else 1
    check_predict('SelfAttention', mode, causal, masked, limit)
    if chunk_len is None:
      check(
        implementation in ('auto', 'xla'),
        f'SelfAttention.implementation is {implementation!r} without '
        "chunk_len: full attention has 'xla' alone; leave it 'auto', or set "
        'chunk_len',
      )
      check(
        not (n_chunks_before or n_chunks_after),
        f'SelfAttention.n_chunks_before is {n_chunks_before} and '
        f'n_chunks_after {n_chunks_after} without chunk_len: set chunk_len',
      )
    else:
      check_chunks('SelfAttention', chunk_len, n_chunks_before, n_chunks_after)
    self._share_qk, self._predict_mem_len = share_qk, predict_mem_len
    self._chunks = dict(
      chunk_len=chunk_len,
      n_chunks_before=n_chunks_before,
      n_chunks_after=n_chunks_after,
      wrap=wrap,
    )
    super().__init__(
      n_heads,
      d_qk,
      d_v,
      causal,
      masked,
      mode,
      attention_dropout,
      output_dropout,
      bias,
      dict(share_qk=share_qk, **self._chunks),
      n_parallel_heads=n_parallel_heads,
      implementation=implementation,
    )

  def _depths(self):
    n_keys = 1 if self._share_qk else 2
    return [self._d_qk] * n_keys + [self._d_v]

  def _attend(self, heads, mask, attend_rng, constants, saved):
    del constants, saved
    q, k, v = self._q_k_v(heads)
    dropout = dict(dropout=self._attention_dropout, dropout_rng=attend_rng)
    if self._chunks['chunk_len'] is None:
      return full_attention(q, k, v, mask, causal=self._causal, **dropout), ()
    out = local_attention(
      q,
      k,
      v,
      mask,
      causal=self._causal,
      implementation=self._chosen(q, v, 1, self._chunks['chunk_len']),
      **self._chunks,
      **dropout,
    )
    return out, ()

  def _start(self, heads, saved, lengths):
    q, k, v = self._q_k_v(heads)
    window = self._window()
    if window:
      return cached_attention.start_local(q, k, v, lengths, **window)
    size = cache_size(q, self._predict_mem_len)
    return cached_attention.start_full(q, k, v, lengths, size=size)

  def _step(self, heads, cache):
    q, k, v = self._q_k_v(heads)
    window = self._window()
    if window:
      return cached_attention.step_local(q, k, v, cache, **window)
    return cached_attention.step_full(q, k, v, cache)

  def _q_k_v(self, heads):
    q, *k, v = heads
    return q, k[0] if k else None, v

  def _window(self):
    """What a token of local attention sees."""
    if self._chunks['chunk_len'] is None:
      return None
    return {k: self._chunks[k] for k in ('chunk_len', 'n_chunks_before')}

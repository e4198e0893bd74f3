"""LSH self-attention."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from trax_reformer_ext.layers._attention import Attention
from trax_reformer_ext.layers._checks import (
  cache_size,
  check_chunks,
  check_predict,
)
from trax_reformer_ext.layers._common import as_tuple, check, configurable
from trax_reformer_ext.ops import cached_attention, hashing
from trax_reformer_ext.ops.full_attention import full_attention
from trax_reformer_ext.ops.lsh_attention import lsh_attention

ABLATIONS = ('zeroed', 'random_buckets')


class Hashed(NamedTuple):
  """What LSH attention makes of its input before it attends.

  ops.lsh_attention(q, v, buckets, mask, n_buckets=n_buckets, **options) is
  what the layer then computes for each head.

  Attributes:
    q: float [batch, heads, length, d_qk], queries; the keys are the same at
      length 1.
    v: float [batch, heads, length, d_v].
    buckets: int32 [batch, heads, n_hashes, length], in [0, n_buckets).
    mask: bool [batch, length], True at real tokens; or None.
    n_buckets: int, the number of buckets.
    options: dict, further arguments of ops.lsh_attention.
  """

  q: jax.Array
  v: jax.Array
  buckets: jax.Array
  mask: jax.Array | None
  n_buckets: int
  options: dict


@configurable
class LSHSelfAttention(Attention):
  """Multi-round LSH self-attention (Kitaev et al. 2020, section 2).

  Maps [batch, length, d_model], or with masked=True a pair with a mask bool
  [batch, length], to [batch, length, d_model], for any length. Queries and
  keys share a projection. Weights as trax.layers.LSHSelfAttention's: w_q
  [n_heads, d_model, d_qk], w_v [n_heads, d_model, d_v], w_o [n_heads, d_v,
  d_model]. There is no state: neither batch size nor length is fixed.
  """

  def __init__(
    self,
    n_heads=2,
    d_qk=64,
    d_v=64,
    share_qk='unused',
    causal=False,
    masked=False,
    chunk_len=128,
    n_chunks_before=1,
    n_chunks_after=0,
    n_hashes=1,
    n_buckets=None,
    mode='train',
    predict_mem_len=2048,
    predict_drop_len=256,
    attention_dropout=0.0,
    output_dropout=0.0,
    max_length_for_buckets=None,
    bias=False,
    n_parallel_heads=None,
    use_python_loop=False,
    use_reference_code=False,
    attend_across_buckets=True,
    allow_duplicate_attention=True,
    strictly_causal=False,
    wrap=True,
    exact_attention_below=0,
    hash_seed=0,
    hash_fn=None,
    ablation=None,
    implementation='auto',
  ):
    """Creates the layer.

    Args:
      n_heads: int, number of heads.
      d_qk: int, depth of the shared queries and keys.
      d_v: int, depth of values.
      share_qk: accepted for Trax's configs: always shared.
      causal: bool, no attention to later positions.
      masked: bool, take a mask as a second input.
      chunk_len: int, tokens in a chunk of the sorted sequence.
      n_chunks_before: int, chunks before its own that a token sees.
      n_chunks_after: int, chunks after its own.
      n_hashes: int, rounds of hashing; may differ between training and
        evaluation.
      n_buckets: even int, list of even ints (factorised hashing), or None: two
        buckets a chunk, by the length of the input.
      mode: 'train', 'eval' or 'predict'. In 'train' every step draws new
        rotations; otherwise they are fixed by hash_seed. In 'predict' a token
        sees what strictly_causal lets it see.
      predict_mem_len: int, the longest sequence in mode 'predict'.
      predict_drop_len: accepted for Trax's configs, without effect.
      attention_dropout: float, rate for attention weights.
      output_dropout: float, rate for features of the output.
      max_length_for_buckets: int, the length by which n_buckets=None is
        resolved in mode 'predict'; None for predict_mem_len.
      bias: must be False.
      n_parallel_heads: int, heads whose queries, keys and values exist at the
        same time; None for as many as take 128 MiB.
      use_python_loop: accepted for Trax's configs, without effect.
      use_reference_code: accepted for Trax's configs, without effect.
      attend_across_buckets: bool; False sees only keys of the own bucket.
      allow_duplicate_attention: bool; False counts a pair once that several
        rounds admit.
      strictly_causal: bool; True sees the n_chunks_before * chunk_len tokens
        of its bucket that came last, each once: no output depends on a later
        token, not even through the chunk borders. Needs causal.
      wrap: bool, the chunks of all rounds form a ring, as in Trax; False ends
        the look at the edges of each round.
      exact_attention_below: int, inputs shorter than this get exact shared
        query-key attention; 0 never.
      hash_seed: int, the rotations outside of training.
      hash_fn: None, or a function of the queries [batch, n_heads, length,
        d_qk] that returns buckets [batch, n_heads, n_hashes, length] in place
        of the random rotations.
      ablation: what the layer's work is worth, measured by its lack: 'zeroed'
        gives zeros, 'random_buckets' puts every position into buckets that
        are drawn in place of the rotations. None for neither.
      implementation: 'auto', the fused kernel on a GPU that runs it and XLA's
        operations elsewhere; 'xla' or 'fused' for one of them; 'interpreted',
        the kernel's program by JAX's operations, for tests.

    Raises:
      ReformerError: an argument that the layer can't do, by name.
    """
    del share_qk, predict_drop_len
    del use_python_loop, use_reference_code
    kind = 'LSHSelfAttention'
    check_chunks(kind, chunk_len, n_chunks_before, n_chunks_after)
    check(
      isinstance(n_hashes, int) and n_hashes >= 1,
      f'{kind}.n_hashes is {n_hashes!r}: give an int of at least 1',
    )
    _check_buckets(n_buckets)
    check(
      causal or not strictly_causal,
      f'{kind}.strictly_causal is True with causal=False: set causal=True',
    )
    check(
      n_chunks_before >= 1 or not strictly_causal,
      f'{kind}.n_chunks_before is 0 with strictly_causal=True, which would see '
      'nothing: set n_chunks_before to at least 1',
    )
    check(
      ablation in ABLATIONS + (None,),
      f'{kind}.ablation is {ablation!r}: give one of {ABLATIONS}, or None',
    )
    check(
      ablation is None or mode != 'predict',
      f"{kind}.ablation is {ablation!r} with mode='predict', which has no "
      'ablations: leave it None',
    )
    check_predict(kind, mode, causal, masked, predict_mem_len)
    self._ablation = ablation
    self._predict_mem_len = predict_mem_len
    self._max_length_for_buckets = max_length_for_buckets or predict_mem_len
    self._n_hashes, self._n_buckets = n_hashes, n_buckets
    self._exact_attention_below = exact_attention_below
    self._hash_seed, self._hash_fn = hash_seed, hash_fn
    self._rounds = dict(
      chunk_len=chunk_len,
      n_chunks_before=n_chunks_before,
      n_chunks_after=n_chunks_after,
      attend_across_buckets=attend_across_buckets,
      allow_duplicate_attention=allow_duplicate_attention,
      strictly_causal=strictly_causal,
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
      dict(
        n_hashes=n_hashes,
        n_buckets=n_buckets,
        exact_attention_below=exact_attention_below,
        hash_seed=hash_seed,
        hash_fn=hash_fn,
        ablation=ablation,
        **self._rounds,
      ),
      n_parallel_heads=n_parallel_heads,
      implementation=implementation,
    )

  @property
  def is_strictly_causal(self):
    """Whether no output depends on a later token in any way."""
    return self._rounds['strictly_causal']

  @property
  def has_fixed_buckets(self):
    """Whether the number of buckets is the same at any length."""
    return self._n_buckets is not None

  def hashed(self, inputs, rng=None):
    """What the layer makes of its inputs before it attends: Hashed.

    Args:
      inputs: as forward's. They are hashed even where exact attention would
        be computed (exact_attention_below).
      rng: JAX PRNG key, as forward_and_save's; in mode 'train' alone.
    """
    inputs = as_tuple(inputs)
    q, v = self._heads(inputs, self.weights)
    length = q.shape[2]
    n_buckets = self._n_buckets_for(length)
    if self._train:
      rng = jax.random.split(rng, 3)[2]
    return Hashed(
      q,
      v,
      self._hash(q, n_buckets, self._drawn(length, rng)),
      self._mask(inputs),
      hashing.total_buckets(n_buckets),
      dict(self._rounds, causal=self._causal),
    )

  def _depths(self):
    return [self._d_qk, self._d_v]

  def _attend(self, heads, mask, attend_rng, drawn, saved):
    q, v = heads
    if self._ablation == 'zeroed':
      return jnp.zeros_like(v), ()
    dropout = dict(dropout=self._attention_dropout, dropout_rng=attend_rng)
    if self._is_exact(q.shape[2]):
      out = full_attention(q, None, v, mask, causal=self._causal, **dropout)
      return out, ()
    n_buckets = self._n_buckets_for(q.shape[2])
    total = hashing.total_buckets(n_buckets)
    chosen = self._chosen(q, v, self._n_hashes, self._rounds['chunk_len'])
    check(
      not isinstance(saved, tuple),
      'ReversibleSerial.reverse_and_grad has no hash buckets of the forward '
      'pass: differentiate with jax.grad',
    )
    buckets = saved
    if saved is None:
      buckets = self._hash(q, n_buckets, drawn, chosen)
    out = lsh_attention(
      q,
      v,
      buckets,
      mask,
      n_buckets=total,
      causal=self._causal,
      implementation=chosen,
      **self._rounds,
      **dropout,
    )
    return out, buckets.astype(_smallest_int(total))

  def _start(self, heads, saved, lengths):
    q, v = heads
    size = cache_size(q, self._predict_mem_len)
    if self._is_exact(q.shape[2]):
      return cached_attention.start_full(q, None, v, lengths, size=size)
    window = max(1, self._rounds['n_chunks_before']) * self._rounds['chunk_len']
    n_buckets = hashing.total_buckets(self._n_buckets_for(q.shape[2]))
    return cached_attention.start_lsh(
      q, v, saved, lengths, n_buckets=n_buckets, window=window, size=size
    )

  def _step(self, heads, cache):
    q, v = heads
    if self._is_exact(1):
      return cached_attention.step_full(q, None, v, cache)
    drawn = self._constants(1, None)
    buckets = self._hash(q, self._n_buckets_for(1), drawn)
    return cached_attention.step_lsh(q, v, buckets, cache)

  @property
  def _separable(self):
    return self._hash_fn is None  # which hashes all heads at once

  def _constants(self, length, rng):
    """What hashing draws for each head, where it is needed."""
    if self._hash_fn is not None or self._is_exact(length):
      return ()
    return self._drawn(length, rng)

  def _drawn(self, length, rng):
    """The rotations, or the buckets themselves [heads, n_hashes, length]."""
    if not self._train:
      rng = jax.random.PRNGKey(self._hash_seed)
    n_buckets = self._n_buckets_for(length)
    if self._ablation == 'random_buckets':
      shape = (self._n_heads, self._n_hashes, length)
      total = hashing.total_buckets(n_buckets)
      return jax.random.randint(rng, shape, 0, total, jnp.int32)
    return hashing.random_rotations(
      rng, self._n_heads, self._d_qk, self._n_hashes, n_buckets
    )

  def _hash(self, q, n_buckets, drawn, implementation='xla'):
    if self._hash_fn is not None:
      return self._hash_fn(q)
    if self._ablation == 'random_buckets':
      return jnp.broadcast_to(drawn, q.shape[:1] + drawn.shape)
    return hashing.hash_vectors(q, drawn, n_buckets, implementation)

  def _deciding(self, length):
    """The length that decides: in 'predict' the same for every step."""
    return self._max_length_for_buckets if self._predict else length

  def _is_exact(self, length):
    return self._deciding(length) < self._exact_attention_below

  def _n_buckets_for(self, length):
    if self._n_buckets is not None:
      return self._n_buckets
    chunk_len = self._rounds['chunk_len']
    return hashing.n_buckets_for_length(self._deciding(length), chunk_len)


def _smallest_int(n_values):
  """The smallest unsigned integer type that holds n_values values."""
  types = (jnp.uint8, jnp.uint16, jnp.uint32)
  return next(t for t in types if n_values - 1 <= jnp.iinfo(t).max)


def _check_buckets(n_buckets):
  if n_buckets is None:
    return
  factors = [n_buckets] if isinstance(n_buckets, int) else list(n_buckets)
  check(
    factors
    and all(isinstance(f, int) and f >= 2 and f % 2 == 0 for f in factors),
    f'LSHSelfAttention.n_buckets is {n_buckets!r}: give an even int, a list of '
    'even ints, or None',
  )

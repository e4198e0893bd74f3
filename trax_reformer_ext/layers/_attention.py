"""What all attention layers share: projections, dropout, the cache."""

import jax
import jax.numpy as jnp
import numpy as np
from trax.layers import base

from trax_reformer_ext.layers._common import (
  as_tuple,
  check,
  check_mode,
  dropout_by_feature,
)
from trax_reformer_ext.layers._head_groups import (
  n_groups_of,
  run_groups,
  run_groups_and_grad,
  with_float0,
)
from trax_reformer_ext.layers.prompt import Prompt
from trax_reformer_ext.ops.devices import on_each_device
from trax_reformer_ext.ops.fused_attention import why_unsupported
from trax_reformer_ext.ops.linear import linear
from trax_reformer_ext.ops.platforms import IMPLEMENTATIONS, why_no_kernels


class Attention(base.Layer):
  """Projections to heads, attention, projection back.

  A subclass defines _depths() and _attend(heads, mask, attend_rng, constants,
  saved) -> (out, saved), for all heads or some; and for mode 'predict'
  _start(heads, saved, lengths) -> cache and _step(heads, cache) -> (out,
  cache).

  In mode 'predict' the state is a Prompt before the first call, which takes
  prompts [batch, length, d_model]; then it is the cache of all tokens so far,
  to which every call adds its own.
  """

  def __init__(
    self,
    n_heads,
    d_qk,
    d_v,
    causal,
    masked,
    mode,
    attention_dropout,
    output_dropout,
    bias,
    described,
    n_in=None,
    n_parallel_heads=None,
    implementation='xla',
  ):
    kind = type(self).__name__
    check_mode(kind, mode)
    for name, value in (('n_heads', n_heads), ('d_qk', d_qk), ('d_v', d_v)):
      check(
        isinstance(value, int) and value >= 1,
        f'{kind}.{name} is {value!r}: give an int of at least 1',
      )
    check(
      n_parallel_heads is None
      or (isinstance(n_parallel_heads, int) and n_parallel_heads >= 1),
      f'{kind}.n_parallel_heads is {n_parallel_heads!r}: give an int of at '
      'least 1, or None',
    )
    check(
      implementation in IMPLEMENTATIONS,
      f'{kind}.implementation is {implementation!r}: give one of '
      f'{IMPLEMENTATIONS}',
    )
    check(
      not bias,
      f'{kind}.bias is {bias!r}: projections have no bias here; use False',
    )
    for name, rate in (
      ('attention_dropout', attention_dropout),
      ('output_dropout', output_dropout),
    ):
      check(0 <= rate < 1, f'{kind}.{name} is {rate}: give a rate in [0, 1)')
    # Trax's memory-efficient trainer shares compiled functions between layers
    # of the same name, so the name tells all that the computation depends on.
    described = dict(
      n_heads=n_heads,
      d_qk=d_qk,
      d_v=d_v,
      causal=causal,
      dropout=(attention_dropout, output_dropout),
      mode=mode,
      n_parallel_heads=n_parallel_heads,
      implementation=implementation,
      **described,
    )
    arguments = ', '.join(f'{k}={v}' for k, v in described.items())
    n_in = n_in or (2 if masked else 1)
    super().__init__(n_in=n_in, name=f'{kind}({arguments})')
    self._n_heads, self._d_qk, self._d_v = n_heads, d_qk, d_v
    self._causal, self._masked = causal, masked
    self._n_parallel_heads = n_parallel_heads
    self._implementation = implementation
    train = mode == 'train'
    self._train, self._predict = train, mode == 'predict'
    self._attention_dropout = attention_dropout if train else 0.0
    self._output_dropout = output_dropout if train else 0.0

  @property
  def is_repeatable(self):
    """Whether forward_and_save computes all there is: there is no cache."""
    return not self._predict

  def _depths(self):
    """Depth of each projection, in the order of the weights."""
    raise NotImplementedError

  def _projected(self, inputs):
    """What each projection is of, in the order of the weights."""
    return [as_tuple(inputs)[0]] * len(self._depths())

  def init_weights_and_state(self, input_signature):
    projected = self._projected(input_signature)
    d_model = projected[0].shape[-1]
    rngs = jax.random.split(self.rng, len(projected) + 1)
    inward = tuple(
      _head_weights(rng, self._n_heads, x.shape[-1], depth)
      for rng, x, depth in zip(rngs, projected, self._depths(), strict=False)
    )
    w_o = _head_weights(rngs[-1], self._n_heads, d_model, self._d_v)
    self.weights = inward + (jnp.swapaxes(w_o, 1, 2),)
    if self._predict:
      self.state = Prompt()

  def forward(self, inputs):
    if self._predict:
      return self._forward_cached(inputs)
    return self.forward_and_save(inputs, self.weights, self.rng)[0]

  def forward_and_save(self, inputs, weights, rng, saved=None):
    """Computes the output, and what a second evaluation needs to repeat it.

    Args:
      inputs: as forward's.
      weights: this layer's weights.
      rng: JAX PRNG key.
      saved: what an earlier evaluation saved, or None.

    Returns:
      (out, saved): out [batch, length, d_model]; saved is () or the hash
      buckets in the smallest integer type that holds them.
    """

    def attend(examples, shared):
      (inputs, saved), (weights, rng) = examples, shared
      run, drop, n_groups, constants = self._prepared(inputs, rng)
      out, saved = run_groups(run, n_groups, inputs, weights, constants, saved)
      return (drop(out), saved), ()

    return on_each_device(attend, (as_tuple(inputs), saved), (weights, rng))[0]

  def forward_and_backward(self, inputs, d_out, weights, rng, saved):
    """Computes the output and its gradients in one pass over the heads.

    Args:
      inputs: as forward's.
      d_out: float [batch, length, d_model], gradient of the output.
      weights: this layer's weights.
      rng: the forward pass's JAX PRNG key.
      saved: what the forward pass saved.

    Returns:
      (out, gradients of the inputs as a tuple with float0 for masks,
      gradients of the weights).
    """
    inputs = as_tuple(inputs)

    def attend(examples, shared):
      (inputs, d_out, saved), (weights, rng) = examples, shared
      run, drop, n_groups, constants = self._prepared(inputs, rng)
      out, d_inputs, d_weights = run_groups_and_grad(
        run, n_groups, inputs, weights, constants, saved, drop(d_out)
      )
      return (drop(out), d_inputs), d_weights

    (out, d_inputs), d_weights = on_each_device(
      attend, (inputs, d_out, saved), (weights, rng)
    )
    return out, with_float0(d_inputs, inputs), d_weights

  def _prepared(self, inputs, rng):
    """The parts of a pass: attention of some heads, dropout of the output.

    Returns:
      (run as run_groups takes it, drop, number of groups, constants). drop
      multiplies by a mask, so it is its own transpose.
    """
    attend_rng, output_rng, hash_rng = jax.random.split(rng, 3)
    x, mask = inputs[0], self._mask(inputs)

    def run(inputs, weights, constants, saved):
      heads = self._heads(inputs, weights)
      out, saved = self._attend(heads, mask, attend_rng, constants, saved)
      return from_heads(out, weights[-1]), saved

    drop = lambda x: dropout_by_feature(x, self._output_dropout, output_rng)
    bytes_each = x.shape[0] * x.shape[1] * self._d_qk * x.dtype.itemsize
    n_groups = 1
    if self._separable:
      n_groups = n_groups_of(self._n_heads, self._n_parallel_heads, bytes_each)
    return run, drop, n_groups, self._constants(x.shape[1], hash_rng)

  _separable = True  # whether heads can be computed apart

  def _constants(self, length, rng):
    """What each head needs beside its weights: arrays [n_heads, ...]."""
    del length, rng
    return ()

  def _forward_cached(self, x):
    """Attends from x [batch, length, d_model] to the tokens so far and x."""
    heads = self._heads(x, self.weights)
    if isinstance(self.state, Prompt):
      lengths = self.state.of(x)
      mask = jnp.arange(x.shape[1], dtype=jnp.int32) < lengths[:, None]
      constants = self._constants(x.shape[1], None)
      out, saved = self._attend(heads, mask, None, constants, None)
      self.state = self._start(heads, saved, lengths)
    elif x.shape[1] == 1:
      out, self.state = self._step(heads, self.state)
    else:
      tokens = [jnp.moveaxis(h, 2, 0)[:, :, :, None] for h in heads]

      def step(cache, token):
        out, cache = self._step(token, cache)
        return cache, out

      self.state, out = jax.lax.scan(step, self.state, tokens)
      out = jnp.moveaxis(out[:, :, :, 0], 0, 2)
    return from_heads(out, self.weights[-1])

  def _chosen(self, q, v, n_rounds, chunk_len):
    """What computes attention within chunks: 'xla', 'fused', 'interpreted'.

    Raises:
      ReformerError: implementation is 'fused', which cannot be.
    """
    asked = self._implementation
    if asked in ('xla', 'interpreted'):
      return asked
    why_not = why_no_kernels() or why_unsupported(q, v, n_rounds, chunk_len)
    check(
      asked == 'auto' or not why_not,
      f"{type(self).__name__}.implementation is 'fused', but {why_not}; 'auto' "
      'takes the kernel where it can be',
    )
    return 'xla' if why_not else 'fused'

  def _mask(self, inputs):
    """The mask bool [batch, length], or None."""
    if not self._masked:
      return None
    mask = inputs[-1]
    return mask.reshape(mask.shape[0], mask.shape[-1]).astype(bool)

  def _heads(self, inputs, weights):
    """The projections, [batch, heads, length, depth] each."""
    projected = self._projected(inputs)
    if any(x is not projected[0] for x in projected):
      pairs = zip(projected, weights, strict=False)
      return [to_heads(x, w) for x, w in pairs]
    # Of the same array, as one product.
    depths = [w.shape[-1] for w in weights[:-1]]
    heads = to_heads(projected[0], jnp.concatenate(weights[:-1], axis=-1))
    return jnp.split(heads, np.cumsum(depths)[:-1], axis=-1)


def _head_weights(rng, n_heads, d_model, depth):
  """Glorot uniform over all heads, as Trax initialises them one by one."""
  limit = (6 / (d_model + depth * n_heads)) ** 0.5
  shape = (n_heads, d_model, depth)
  return jax.random.uniform(rng, shape, jnp.float32, -limit, limit)


def to_heads(x, w):
  """[batch, length, d_model], [heads, d_model, depth] -> one array a head.

  As one product, and one transposition of its result: [batch, heads, length,
  depth].
  """
  heads, d_model, depth = w.shape
  w = w.astype(x.dtype)
  y = linear(x, jnp.swapaxes(w, 0, 1).reshape(d_model, heads * depth))
  return jnp.swapaxes(y.reshape(x.shape[:2] + (heads, depth)), 1, 2)


def from_heads(x, w):
  """Sum over heads of x [batch, heads, length, depth] @ w [heads, depth, d]."""
  batch, heads, length, depth = x.shape
  rows = jnp.swapaxes(x, 1, 2).reshape(batch, length, heads * depth)
  return linear(rows, w.reshape(heads * depth, -1).astype(x.dtype))

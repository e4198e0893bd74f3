"""Reversible residual layers (Kitaev et al. 2020, section 3)."""

import jax
import jax.numpy as jnp
from trax import layers as tl
from trax.layers import combinators as cb

from trax_reformer_ext.layers._common import (
  as_tuple,
  check,
  check_mode,
  configurable,
)
from trax_reformer_ext.ops.reversible import reversible_scan, stored_scan


@configurable
def ReversibleSwap():
  """Returns a layer that maps (x1, x2) to (x2, x1)."""
  return tl.ReversibleSelect([1, 0], name='ReversibleSwap')


@configurable
class ReversibleHalfResidual(tl.ReversibleHalfResidual):
  """One half of a reversible residual block: y1 = x1 + f(x2) (equation 9).

  Maps [accumulator, *context] to [accumulator + f(context), *context], where
  f is the residual layers in series and then the attention layer, if any. The
  reverse pass computes f once, for the reconstruction x1 = y1 - f(x2) and the
  gradient alike, with the dropout masks and hash buckets of the forward pass.

  Run on its own (as Trax's memory-efficient trainer does), the buckets travel
  in the new state; no forward pass reads them.
  """

  def __init__(self, *residual_layers, attention_layer=None, name=None):
    """Creates the layer.

    Args:
      *residual_layers: layers in series.
      attention_layer: layer that comes after them, or None.
      name: str, name of this layer.
    """
    super().__init__(
      *residual_layers, attention_layer=attention_layer, name=name
    )
    # As of Trax's combinators: without them, the shapes of a model that is not
    # initialised can't be asked for, as its trainer does to go on.
    self._weights = self._state = (None,) * len(self.sublayers)

  def forward(self, xs):
    xs, state, saved = self.forward_and_save(
      tuple(xs), self.weights, self.state, self.rng
    )
    if self._attention_layer is not None and _saves(self._attention_layer):
      state = (state[0], saved)
    self.state = state
    return xs

  def forward_and_save(self, xs, weights, state, rng):
    """Returns (outputs, new state, what the reverse pass needs)."""
    accumulator, *context = xs
    residual, state, saved = self._residual(
      tuple(context), weights, state, rng, None
    )
    accumulator += residual.astype(accumulator.dtype)
    return (accumulator, *context), state, saved

  def reverse_and_grad(
    self, output, ct, weights=(), state=(), new_state=(), rng=None
  ):
    """As trax.layers.ReversibleLayer.reverse_and_grad."""
    saved = None
    if self._attention_layer is not None:
      saved = new_state[1]
    inexact = lambda x: jnp.issubdtype(x.dtype, jnp.inexact)
    d_xs = tuple(
      d if inexact(x) else None for x, d in zip(output, ct, strict=True)
    )
    xs, d_xs, d_weights = self.reverse_saved(
      tuple(output), d_xs, weights, state, saved, rng
    )
    d_xs = tuple(c if d is None else d for d, c in zip(d_xs, ct, strict=True))
    return xs, (d_xs, d_weights)

  def reverse_saved(self, xs, d_xs, weights, state, saved, rng):
    """Inputs and gradients from outputs and their gradients.

    Args:
      xs: tuple of outputs.
      d_xs: tuple of their gradients, None for integers and booleans.
      weights: weights of this layer.
      state: state before the forward pass.
      saved: what forward_and_save saved.
      rng: the forward pass's PRNG key.

    Returns:
      (inputs, gradients, gradients of the weights).
    """
    accumulator, *context = xs
    d_accumulator, *d_context = d_xs
    fused = self._fused()
    if fused is not None:
      # One pass over slices gives both the residual and its gradients.
      rng = cb._split_rngs(rng, len(self.sublayers))[0]
      rng = cb._split_rngs(rng, 1)[0]
      residual, d_x, d_w = fused.forward_and_backward(
        context[0], d_accumulator, weights[0][0], state[0][0], rng
      )
      d_inputs = [d_x] + [None] * (len(context) - 1)
      d_weights = ((d_w,),)
    else:
      residual, d_inputs, d_weights = self._residual_and_grad(
        tuple(context), d_accumulator, weights, state, saved, rng
      )
    d_context = [
      d if g is None else d + g.astype(d.dtype)
      for d, g in zip(d_context, d_inputs, strict=True)
    ]
    accumulator -= residual.astype(accumulator.dtype)
    return (accumulator, *context), (d_accumulator, *d_context), d_weights

  def ordinary(self):
    """Returns a layer with the same sublayers that adds to its own input.

    It maps [x, *context] to [x + f(x, *context), *context], differentiated
    plainly.
    """
    layers = [self._compute_residual]
    if self._attention_layer is not None:
      layers.append(self._attention_layer)
    residual = tl.Serial(layers)
    kept = list(range(1, residual.n_in))
    copy = tl.Select([0, *kept, *kept], n_in=residual.n_in) if kept else []
    return tl.Serial(copy, tl.Residual(residual))

  def attended(self, xs, rng):
    """The attention layer and its inputs, for inputs of this layer.

    Args:
      xs: tuple of arrays [accumulator, *context].
      rng: JAX PRNG key.

    Returns:
      (layer, tuple of arrays), or (None, None) without attention.
    """
    attention = self._attention_layer
    if attention is None:
      return None, None
    stack, _ = self._before_attention(
      tuple(xs[1:]), self.weights, self.state, rng
    )
    return attention, as_tuple(cb.inputs_from_stack(stack, attention.n_in))

  def _residual_and_grad(self, context, d_residual, weights, state, saved, rng):
    """f(context) and its gradients, None for integers and booleans.

    Attention of this package computes both in one pass over its heads.
    """
    attention = self._attention_layer
    if attention is None or not _saves(attention):
      run = lambda context, weights: self._residual(
        context, weights, state, rng, saved
      )[0]
      residual, vjp = jax.vjp(run, context, weights)
      d_inputs, d_weights = vjp(d_residual.astype(residual.dtype))
    else:

      def before(context, weights):
        stack, _ = self._before_attention(context, weights, state, rng)
        return as_tuple(cb.inputs_from_stack(stack, attention.n_in))

      inputs, vjp = jax.vjp(before, context, weights)
      rngs = cb._split_rngs(rng, len(self.sublayers))
      d_out = d_residual.astype(inputs[0].dtype)
      residual, d_attended, d_attention = attention.forward_and_backward(
        inputs, d_out, weights[1], rngs[1], saved
      )
      d_inputs, d_weights = vjp(d_attended)
      d_weights = (d_weights[0], d_attention)
    no_float = jax.dtypes.float0
    d_inputs = [None if d.dtype == no_float else d for d in d_inputs]
    return residual, d_inputs, d_weights

  def _before_attention(self, context, weights, state, rng):
    """What the residual layers make of the stack: (stack, new state)."""
    rngs = cb._split_rngs(rng, len(self.sublayers))
    n_in = self._compute_residual.n_in
    outputs, new_state = self._compute_residual.pure_fn(
      cb.inputs_from_stack(context, n_in), weights[0], state[0], rngs[0]
    )
    return cb.outputs_onto_stack(outputs, context, n_in), new_state

  def _residual(self, context, weights, state, rng, saved):
    """f(context): (residual, new state, saved)."""
    rngs = cb._split_rngs(rng, len(self.sublayers))
    stack, new_state = self._before_attention(context, weights, state, rng)
    new_state = (new_state,)
    attention = self._attention_layer
    if attention is None:
      saved = ()
    else:
      inputs = cb.inputs_from_stack(stack, attention.n_in)
      if _saves(attention):
        outputs, saved = attention.forward_and_save(
          inputs, weights[1], rngs[1], saved
        )
        attention_state = ()
      else:
        outputs, attention_state = attention.pure_fn(
          inputs, weights[1], state[1], rngs[1]
        )
        saved = ()
      stack = cb.outputs_onto_stack(outputs, stack, attention.n_in)
      new_state += (attention_state,)
    residual = stack[0] if isinstance(stack, (tuple, list)) else stack
    return residual, new_state, saved

  def _fused(self):
    """The one residual layer, if it computes output and gradient at once."""
    layers = self._compute_residual.sublayers
    if self._attention_layer is None and len(layers) == 1:
      if hasattr(layers[0], 'forward_and_backward'):
        return layers[0]
    return None


@configurable
class ReversibleSerial(tl.ReversibleSerial):
  """Reversible layers in series, in memory that does not grow with depth.

  Keeps the outputs of the last layer and the hash buckets; inputs are
  reconstructed on the way back. The layers are run as a scan over `n_repeats`
  equal blocks, so that XLA can't keep the work of several blocks alive at
  once, and compiles one block however deep the stack is.
  """

  def __init__(
    self, *layers, n_repeats=1, store_activations_below=0, mode='train'
  ):
    """Creates the layer.

    Args:
      *layers: reversible layers, flat or in nested lists.
      n_repeats: int, the layers are this many equal blocks one after another:
        the same layers with weights of the same shapes.
      store_activations_below: int, inputs shorter than this are
        differentiated plainly: faster, in memory that grows with depth.
      mode: 'train', 'eval' or 'predict'. In 'predict' the layers are run one
        by one, so that their caches are updated where they are.

    Raises:
      ReformerError: layers that are not n_repeats equal blocks.
    """
    check_mode('ReversibleSerial', mode)
    super().__init__(*layers)
    n_layers = len(self.sublayers)
    check(
      n_repeats >= 1 and n_layers % n_repeats == 0,
      f'ReversibleSerial.n_repeats is {n_repeats}: give a divisor of the '
      f'number of layers, {n_layers}',
    )
    period = n_layers // n_repeats
    names = [str(layer) for layer in self.sublayers]
    check(
      names == names[:period] * n_repeats,
      f'ReversibleSerial.n_repeats is {n_repeats}, but the layers are not that '
      'many equal blocks; set it to 1',
    )
    self._n_repeats = n_repeats
    self._block = self.sublayers[:period]
    self._store_activations_below = store_activations_below
    self._predict = mode == 'predict'

  @property
  def has_backward(self):
    return False  # forward() brings its own gradient

  def forward(self, xs):
    if self._predict:
      return super().forward(xs)  # trax.layers.Serial's
    weights, aux = self._by_block(self.rng)
    xs = tuple(xs)
    if xs[0].shape[1] < self._store_activations_below:
      xs, states = stored_scan(self._forward, xs, weights, aux)
    else:
      xs, states = reversible_scan(
        self._forward, self._reverse, xs, weights, aux
      )
    self.state = tuple(
      jax.tree.map(lambda s, i=i: s[i], state)
      for i in range(self._n_repeats)
      for state in states
    )
    return xs

  def reconstructed(self, xs, rng):
    """The inputs of every block, and what the backward pass makes of them.

    Args:
      xs: tuple of arrays, inputs of the first block.
      rng: JAX PRNG key.

    Returns:
      (inputs, reconstructed), like xs, but arrays [n_repeats, ...]. The second
      is computed from the outputs of the last block alone.
    """
    weights, aux = self._by_block(rng)
    xs = tuple(xs)

    def forward(xs, weights, aux):
      ys, _, saved = self._forward(xs, weights[0], aux)
      return ys, xs, saved

    def reverse(ys, d_ys, weights, aux, saved):
      xs, d_xs, d_weights = self._reverse(ys, d_ys, weights[0], aux, saved)
      # What leaves the scan on its way back are gradients of weights: so the
      # reconstructed inputs go as those of weights that are not used.
      return xs, d_xs, (d_weights, xs)

    @jax.jit
    def there_and_back(xs, weights, aux):
      unused = jax.tree.map(
        lambda x: jnp.zeros((self._n_repeats,) + x.shape, x.dtype), xs
      )
      run = lambda unused: reversible_scan(
        forward, reverse, xs, (weights, unused), aux
      )
      outputs, vjp = jax.vjp(run, unused)
      return outputs[1], vjp(jax.tree.map(jnp.zeros_like, outputs))[0]

    return there_and_back(xs, weights, aux)

  def _by_block(self, rng):
    """Weights, and (states, random keys), stacked [n_repeats, ...]."""
    n, period = self._n_repeats, len(self._block)
    stack = lambda *leaves: jnp.stack(leaves)
    blocks = lambda items: jax.tree.map(
      stack, *(tuple(items[i * period : (i + 1) * period]) for i in range(n))
    )
    rngs = cb._split_rngs(rng, n * period)
    rngs = jnp.reshape(rngs, (n, period) + rngs.shape[1:])
    return blocks(self.weights), (blocks(self.state), rngs)

  def _forward(self, xs, weights, aux):
    """One block: (outputs, new states, saved)."""
    states, rngs = aux
    new_states, saved = [], []
    for i, layer in enumerate(self._block):
      inputs = tuple(xs[: layer.n_in])
      if isinstance(layer, ReversibleHalfResidual):
        outputs, state, save = layer.forward_and_save(
          inputs, weights[i], states[i], rngs[i]
        )
      else:
        outputs, state = layer.pure_fn(inputs, weights[i], states[i], rngs[i])
        save = state
      xs = tuple(outputs) + xs[layer.n_in :]
      new_states.append(state)
      saved.append(save)
    return xs, tuple(new_states), tuple(saved)

  def _reverse(self, xs, d_xs, weights, aux, saved):
    """One block backwards: (inputs, gradients, gradients of the weights)."""
    states, rngs = aux
    d_weights = []
    for i, layer in reversed(list(enumerate(self._block))):
      outputs, d_outputs = xs[: layer.n_out], d_xs[: layer.n_out]
      if isinstance(layer, ReversibleHalfResidual):
        inputs, d_inputs, d_w = layer.reverse_saved(
          outputs, d_outputs, weights[i], states[i], saved[i], rngs[i]
        )
      else:
        inputs, (d_inputs, d_w) = layer.reverse_and_grad(
          outputs, d_outputs, weights[i], states[i], saved[i], rngs[i]
        )
      xs = tuple(inputs) + xs[layer.n_out :]
      d_xs = tuple(d_inputs) + d_xs[layer.n_out :]
      d_weights.insert(0, d_w)
      # A layer's gradients are finished before the next one starts, so that
      # their intermediate arrays are never alive together.
      xs, d_xs, d_weights[0] = jax.lax.optimization_barrier(
        (xs, d_xs, d_weights[0])
      )
    return xs, d_xs, tuple(d_weights)


def drop_buckets(layer):
  """Empties the bucket entries in the state of a layer and its sublayers."""
  attention = getattr(layer, '_attention_layer', None)
  if isinstance(layer, ReversibleHalfResidual) and attention is not None:
    if _saves(attention):
      attention.state = ()
  for sublayer in layer.sublayers:
    drop_buckets(sublayer)


def _saves(attention_layer):
  return getattr(attention_layer, 'is_repeatable', False)

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trax import layers as tl
from trax.shapes import ShapeDtype

from tests.reference import assert_close
from trax_reformer_ext import (
  ChunkedFeedForward,
  LSHSelfAttention,
  ReformerError,
  ReversibleHalfResidual,
  ReversibleSerial,
  ReversibleSwap,
)
from trax_reformer_ext.layers import drop_buckets

D_MODEL, LENGTH, N_HASHES = 8, 10, 2
LSH = functools.partial(
  LSHSelfAttention,
  n_heads=2,
  d_qk=6,
  d_v=4,
  chunk_len=4,
  n_hashes=N_HASHES,
  n_buckets=4,
  causal=True,
)
X = ShapeDtype((2, LENGTH, D_MODEL))


def blocks(n, dropout=0.0, n_buckets=4):
  lsh = LSH(
    attention_dropout=dropout, output_dropout=dropout, n_buckets=n_buckets
  )
  attend = lambda: ReversibleHalfResidual(tl.LayerNorm(), attention_layer=lsh)
  feed = lambda: ReversibleHalfResidual(
    ChunkedFeedForward(D_MODEL, 12, chunk_size=4, dropout=dropout)
  )
  block = lambda: [attend(), ReversibleSwap(), feed(), ReversibleSwap()]
  return [block() for _ in range(n)]


def init(layer):
  """Weights, moved off their initial values, and state."""
  weights, state = jax.jit(lambda: layer.init((X, X)))()
  rng = np.random.default_rng(0)
  noise = lambda w: 0.2 * rng.normal(size=w.shape).astype('float32')
  return jax.tree.map(lambda w: w + noise(w), weights), state


def inputs(seed=0):
  rng = np.random.default_rng(seed)
  normal = lambda: rng.normal(size=X.shape).astype('float32')
  return normal(), normal()


def test_gradients_are_those_of_a_stack_that_is_not_reversible():
  reversible = ReversibleSerial(*blocks(2, dropout=0.3), n_repeats=2)
  plain = tl.Serial(*blocks(2, dropout=0.3))
  weights, state = init(reversible)
  init(plain)

  def gradients(layer):
    @jax.jit
    def both(xs, weights, d_ys, seed):
      rng = jax.random.PRNGKey(seed)
      run = lambda xs, w: tuple(layer.pure_fn(xs, w, state, rng)[0])
      ys, vjp = jax.vjp(run, xs, weights)
      return ys, *vjp(d_ys)

    return both

  run, arguments = gradients(reversible), (inputs(), weights, inputs(1))
  actual, expected = run(*arguments, 3), gradients(plain)(*arguments, 3)
  for a, e in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    assert_close(a, e, 1e-4)
  # The dropout and the hashing are on.
  assert np.abs(run(*arguments, 4)[0][0] - actual[0][0]).max() > 0.1


def test_reconstruction_after_48_layers_is_accurate():
  (layers,) = blocks(1)  # attention and feed-forward, 24 times
  weights, state = init(ReversibleSerial(*layers))

  @jax.jit
  def there_and_back(xs):
    rngs = jax.random.split(jax.random.PRNGKey(0), 24)

    def forward(xs, rng):
      new_states = []
      for layer, w, s in zip(layers, weights, state, strict=True):
        xs, new_state = layer.pure_fn(xs, w, s, rng)
        new_states.append(new_state)
      return tuple(xs), new_states

    def backward(xs, x):
      rng, new_states = x
      for i in reversed(range(len(layers))):
        zeros = jax.tree.map(jnp.zeros_like, xs)
        xs, _ = layers[i].reverse_and_grad(
          xs, zeros, weights[i], state[i], new_states[i], rng
        )
      return tuple(xs), ()

    ys, states = jax.lax.scan(forward, xs, rngs)
    again, _ = jax.lax.scan(backward, ys, (rngs, states), reverse=True)
    return ys, again

  def relative_error(xs):
    ys, again = there_and_back(xs)
    assert np.abs(ys[0] - xs[0]).max() > 1
    errors = [np.abs(a - x).max() for a, x in zip(again, xs, strict=True)]
    return max(errors) / np.abs(xs).max()

  # How much a rounding grows on its way depends on the weights and inputs.
  error = np.median([relative_error(inputs(seed)) for seed in range(15)])
  print(f'relative reconstruction error after 48 layers: {error:.1e}')
  assert 0 < error < 2e-4


def test_serial_with_lsh_refuses_a_reversal_from_outside():
  layer = ReversibleSerial(*blocks(1))
  weights, state = init(layer)
  rng = jax.random.PRNGKey(3)
  xs = inputs()

  def there_and_back(xs):
    ys, new_state = layer.pure_fn(xs, weights, state, rng)
    return layer.reverse_and_grad(ys, xs, weights, state, new_state, rng)[0]

  with pytest.raises(ReformerError, match='differentiate with jax.grad'):
    jax.eval_shape(there_and_back, xs)


def test_swap_exchanges_its_inputs_both_ways():
  swap = ReversibleSwap()
  assert isinstance(swap, tl.ReversibleLayer)
  assert swap((1, 2)) == (2, 1)
  assert swap.reverse((2, 1)) == (1, 2)


@pytest.mark.parametrize('kind', ['attention', 'feed_forward'])
def test_half_residual_gives_back_its_inputs(kind):
  half = blocks(1, dropout=0.3)[0][0 if kind == 'attention' else 2]
  assert isinstance(half, tl.ReversibleLayer)
  weights, state = init(half)
  rng = jax.random.PRNGKey(3)
  xs, d_ys = inputs(), inputs(1)

  @jax.jit
  def both(xs, weights):
    run = lambda xs, w: half.pure_fn(xs, w, state, rng)
    ys, vjp, new_state = jax.vjp(run, xs, weights, has_aux=True)
    back = half.reverse_and_grad(ys, d_ys, weights, state, new_state, rng)
    return ys, (xs, vjp(d_ys)), back

  ys, expected, actual = both(xs, weights)
  np.testing.assert_array_equal(ys[1], xs[1])
  assert np.abs(ys[0] - xs[0]).max() > 0.1
  for a, e in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    assert_close(a, e, 2e-5)


@pytest.mark.parametrize('n_repeats', [0, 3, 4])
def test_repeats_that_do_not_match_are_refused(n_repeats):
  feed = blocks(1)[0][2]
  with pytest.raises(ReformerError, match=f'n_repeats is {n_repeats}'):
    # Two equal blocks and two more layers of another kind.
    ReversibleSerial(*blocks(2), feed, ReversibleSwap(), feed, ReversibleSwap(),
                     n_repeats=n_repeats)  # fmt: skip


@pytest.mark.parametrize('n_buckets,dtype', [(256, 'uint8'), (300, 'uint16')])
def test_buckets_travel_in_the_state_until_they_are_dropped(n_buckets, dtype):
  layer = blocks(1, n_buckets=n_buckets)[0][0]
  weights, state = init(layer)
  assert state[1] == ()
  rng = jax.random.PRNGKey(0)
  run = jax.jit(lambda state: layer.pure_fn(inputs(), weights, state, rng))
  ys, new_state = run(state)
  buckets = new_state[1]
  assert buckets.dtype == dtype
  assert buckets.shape == (2, 2, N_HASHES, LENGTH)
  # Old buckets are not read.
  again, _ = run((state[0], jnp.zeros_like(buckets)))
  np.testing.assert_array_equal(again[0], ys[0])
  layer.weights, layer.state = weights, new_state
  drop_buckets(layer)
  assert layer.state[1] == ()

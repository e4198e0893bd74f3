"""What layers inside a model are given, and what they make of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trax import layers as tl
from trax import shapes

from tests.layers.test_reversible import X, blocks, init, inputs
from tests.visualize.hashed import lsh_layer
from trax_reformer_ext import LSHSelfAttention, ReformerLM, ReversibleSerial
from trax_reformer_ext.layers import inputs_of
from trax_reformer_ext.layers._attention import from_heads
from trax_reformer_ext.ops.lsh_attention import lsh_attention

IDS = np.random.default_rng(0).integers(2, 40, (2, 12)).astype(np.int32)


def language_model(attention_type, n_layers, mode='eval'):
  model = ReformerLM(
    vocab_size=40,
    d_model=8,
    d_ff=8,
    d_attention_key=6,
    d_attention_value=6,
    n_layers=n_layers,
    n_heads=2,
    max_len=16,
    attention_type=attention_type,
    mode=mode,
  )
  model.init(shapes.signature(IDS))
  return model


def test_inputs_are_those_of_the_forward_pass():
  seen = []

  def hash_and_tell(q):
    jax.debug.callback(lambda q: seen.append(np.asarray(q)), q, ordered=True)
    return jnp.zeros((*q.shape[:2], 1, q.shape[2]), jnp.int32)

  attention = functools.partial(
    LSHSelfAttention, chunk_len=4, n_buckets=2, hash_fn=hash_and_tell
  )
  model = language_model(attention, n_layers=3)
  model(IDS)
  jax.effects_barrier()
  queries = [*seen]
  found = inputs_of(LSHSelfAttention, model, IDS)
  assert len(found) == len(queries) == 3
  for (layer, x), q in zip(found, queries, strict=True):
    np.testing.assert_allclose(layer.hashed(x).q, q, atol=1e-5)
  # Each layer has an input of its own.
  assert np.abs(found[0][1][0] - found[1][1][0]).max() > 1e-3


def test_embeddings_are_given_the_shifted_tokens():
  model = language_model(functools.partial(LSHSelfAttention, chunk_len=4), 1)
  ((_, (ids,)),) = inputs_of(tl.Embedding, model, IDS)
  np.testing.assert_array_equal(ids[:, 0], 0)
  np.testing.assert_array_equal(ids[:, 1:], IDS[:, :-1])
  assert inputs_of(tl.BatchNorm, model, IDS) == []


@pytest.mark.parametrize('masked', [False, True])
def test_hashed_is_what_the_layer_attends_with(masked):
  layer, x = lsh_layer(masked=masked) if masked is False else masked_layer()
  made = layer.hashed(x)
  out = lsh_attention(
    made.q,
    made.v,
    made.buckets,
    made.mask,
    n_buckets=made.n_buckets,
    **made.options,
  )
  want = from_heads(out, layer.weights[-1])
  np.testing.assert_allclose(layer(x), want, atol=1e-5)


def masked_layer():
  _, x = lsh_layer()
  layer = LSHSelfAttention(
    n_heads=2, d_qk=8, d_v=4, chunk_len=4, n_hashes=2, masked=True, mode='eval'
  )
  mask = np.arange(x.shape[1]) < np.array([[15], [x.shape[1]]])
  layer.init(shapes.signature((x, mask)))
  return layer, (x, mask)


def test_rotations_in_training_are_those_of_the_key():
  layer, x = lsh_layer(mode='train')
  rng = jax.random.PRNGKey(3)
  _, buckets = layer.forward_and_save(x, layer.weights, rng)
  np.testing.assert_array_equal(layer.hashed(x, rng).buckets, buckets)
  other = layer.hashed(x, jax.random.PRNGKey(4)).buckets
  assert (np.asarray(other) != buckets).any()


def test_reconstructed_inputs_are_close_to_those_of_every_block():
  n = 2
  layer = ReversibleSerial(*blocks(n, dropout=0.3), n_repeats=n)
  layer.weights, layer.state = init(layer)
  rng = jax.random.PRNGKey(0)
  xs = inputs()
  found, again = layer.reconstructed(xs, rng)
  for x, there, back in zip(xs, found, again, strict=True):
    assert there.shape == back.shape == (n, *X.shape)
    np.testing.assert_array_equal(there[0], x)
    np.testing.assert_allclose(back, there, atol=1e-4)
    # They are computed, not kept.
    assert (np.asarray(back) != there).any()
  # The inputs of the second block are the outputs of the first one.
  first = layer.sublayers[: len(blocks(1)[0])]
  rngs = jax.random.split(rng, n * len(first))

  @jax.jit
  def run_first(xs):
    for i, block in enumerate(first):
      xs, _ = block.pure_fn(xs, layer.weights[i], layer.state[i], rngs[i])
    return xs

  for y, want in zip(run_first(xs), found, strict=True):
    np.testing.assert_allclose(y, want[1], atol=1e-5)

"""ReformerLM beside trax.models.ReformerLM."""

import functools

import jax
import numpy as np
import pytest
import trax.models
from trax import layers as tl

from tests import trax_parity
from tests.models.helpers import init, shaken, shapes_of
from tests.reference import assert_close
from trax_reformer_ext import LSHSelfAttention, ReformerLM, SelfAttention

SIZES = dict(
  vocab_size=13,
  d_model=8,
  d_ff=12,
  d_attention_key=6,
  d_attention_value=4,
  n_heads=2,
  max_len=32,
  mode='eval',
)
LENGTH = 16
LOOK = dict(chunk_len=4, n_chunks_before=1)
LSH = dict(chunk_len=4, n_hashes=2, n_buckets=4)


def attention_types(library, names):
  """The named attention types of Trax, or ours."""
  trax_types = library is tl
  lsh = tl.LSHSelfAttention if trax_types else LSHSelfAttention
  exact = tl.SelfAttention if trax_types else SelfAttention
  types = dict(
    full=exact,
    local=functools.partial(exact, **LOOK),
    lsh=functools.partial(lsh, **LSH),
  )
  return [types[name] for name in names]


CONFIGS = [
  (['full'], dict(n_layers=2)),
  (
    ['local', 'lsh'],
    dict(
      n_layers=4,
      ff_chunk_size=4,
      pos_type='axial',
      pos_axial_shape=(4, 4),
      pos_d_axial_embs=(5, 3),
    ),
  ),
  (['lsh', 'full', 'local'], dict(n_layers=3, ff_use_sru=1)),
  (
    ['local'],
    dict(
      n_layers=1,
      loss_sparsity=2,
      loss_sparsity_type='lowrank',
      loss_d_lowrank=4,
    ),
  ),
]


@pytest.mark.parametrize('names,options', CONFIGS)
def test_weight_shapes_are_those_of_trax(names, options):
  options = dict(SIZES, **options)
  of_trax = trax.models.ReformerLM(
    attention_type=attention_types(tl, names), **options
  )
  ours = ReformerLM(attention_type=attention_types(None, names), **options)
  expected, _ = shapes_of(of_trax, (2, LENGTH))
  weights, _ = shapes_of(ours, (2, LENGTH))
  shapes = lambda tree: [w.shape for w in jax.tree.leaves(tree)]
  assert shapes(weights) == shapes(expected)
  assert len(shapes(weights)) > 12
  # The projection is found at the same place of the tree.
  assert shapes(weights[-1]) == shapes(expected[-1])


@pytest.mark.parametrize('names', [['full'], ['local'], ['lsh', 'local']])
def test_weights_of_trax_give_its_logits(names):
  options = dict(SIZES, n_layers=2)
  of_trax = trax.models.ReformerLM(
    attention_type=attention_types(tl, names), **options
  )
  weights, state = init(of_trax, (2, LENGTH))
  weights = shaken(weights)
  rng = np.random.default_rng(0)
  tokens = rng.integers(1, 13, (2, LENGTH), np.int32)
  run = lambda model: jax.jit(model.pure_fn)
  key = jax.random.PRNGKey(0)
  expected, state = run(of_trax)(tokens, weights, state, key)

  types = attention_types(None, names)
  if 'lsh' in names:
    of_trax.state = state
    (layer,) = trax_parity.lsh_layers(of_trax)
    buckets = trax_parity.buckets_of(layer.state, 2, 2, 2, 4)
    types[0] = functools.partial(types[0], hash_fn=lambda q: buckets)
  ours = ReformerLM(attention_type=types, **options)
  like, state = init(ours, (2, LENGTH))
  leaves = jax.tree.leaves(weights)
  weights = jax.tree.unflatten(jax.tree.structure(like), leaves)
  logits, _ = run(ours)(tokens, weights, state, key)
  assert np.abs(expected).max() > 1
  # A token that sees only itself has a rounded penalty of 1e5 in Trax.
  tolerance = 5e-3 if 'lsh' in names else 1e-5
  assert_close(logits, expected, tolerance)

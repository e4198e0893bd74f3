import jax.numpy as jnp
import numpy as np
import pytest

from tests.visualize.hashed import LENGTH, N_HASHES, hashed
from tests.visualize.reading import texts_of
from trax_reformer_ext import ReformerError
from trax_reformer_ext.ops.lsh_attention import lsh_attention
from trax_reformer_ext.visualize import (
  attention_matrices,
  plot_attention_matrices,
)

MODES = [
  {},
  dict(strictly_causal=True),
  dict(attend_across_buckets=False, allow_duplicate_attention=False),
]


def softmax_of(q, causal):
  """Shared query-key attention of q [length, d_qk], row by row in float64."""
  q = np.asarray(q, np.float64)
  keys = q / np.linalg.norm(q, axis=1, keepdims=True)
  weights = np.zeros((len(q), len(q)))
  for i, scores in enumerate(q @ keys.T):
    seen = [j for j in range(len(q)) if j < i or (not causal and j != i)]
    # A token sees itself where it may see nothing else.
    seen = seen or [i]
    exp = np.exp(scores[seen] - scores[seen].max())
    weights[i, seen] = exp / exp.sum()
  return weights


@pytest.mark.parametrize('causal', [True, False])
def test_full_is_the_softmax(causal):
  layer = hashed(causal=causal)
  full = attention_matrices(layer, [1], head=1, example=1).full
  want = softmax_of(layer.q[1, 1], causal)
  np.testing.assert_allclose(full, want, atol=1e-5)


@pytest.mark.parametrize('mode', MODES)
def test_weights_are_those_that_the_layer_applies(mode):
  layer = hashed(**mode)
  matrices = attention_matrices(layer, [1, N_HASHES], head=1, example=1)
  for n, weights in zip(matrices.n_rounds, matrices.by_lsh, strict=True):
    out = lsh_attention(
      layer.q,
      layer.v,
      layer.buckets[:, :, :n],
      layer.mask,
      n_buckets=layer.n_buckets,
      **layer.options,
    )
    want = weights @ layer.v[1, 1]
    np.testing.assert_allclose(out[1, 1], want, atol=1e-5)


def test_more_rounds_find_more():
  matrices = attention_matrices(hashed(strictly_causal=True), [1, 2, 3, 4])
  full, found = matrices.full, matrices.found
  assert found == sorted(found) and 0 < found[0] < found[-1] <= 1
  for share, weights in zip(found, matrices.by_lsh, strict=True):
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    assert abs(share - full[weights > 0].sum() / LENGTH) < 1e-5


def test_with_one_bucket_and_one_chunk_lsh_finds_all():
  zeros = lambda q: jnp.zeros((*q.shape[:2], 1, q.shape[2]), jnp.int32)
  layer = hashed(
    hash_fn=zeros, n_hashes=1, n_buckets=2, chunk_len=32, strictly_causal=True
  )
  matrices = attention_matrices(layer, [1])
  assert matrices.found == [pytest.approx(1, abs=1e-6)]
  np.testing.assert_allclose(matrices.by_lsh[0], matrices.full, atol=1e-6)


@pytest.mark.parametrize('n_rounds', [(1,), (1, 2), (1, 2, 3, 4)])
def test_the_picture_holds_the_matrices(n_rounds):
  matrices = attention_matrices(hashed(strictly_causal=True), n_rounds)
  figure = plot_attention_matrices(matrices)
  texts = texts_of(figure)
  for n, share in zip(n_rounds, matrices.found, strict=True):
    assert f'LSH, {n} round{"s"[: n > 1]}: finds {share:.0%}' in texts
  wanted = 'full attention', 'query, position', 'key, position'
  assert {*wanted, 'rounds of hashing', 'found, %'} <= set(texts)
  images = [a.images[0].get_array() for a in figure.axes if a.images]
  for image, weights in zip(
    images, [matrices.full, *matrices.by_lsh], strict=False
  ):
    np.testing.assert_array_equal(image.filled(0), weights)
  (line,) = next(a for a in figure.axes if a.get_ylabel() == 'found, %').lines
  np.testing.assert_allclose(
    line.get_xydata(),
    np.transpose([n_rounds, np.multiply(100, matrices.found)]),
  )


@pytest.mark.parametrize(
  'options,message',
  [
    (dict(head=2), 'head is 2: give an int from 0 to 1'),
    (dict(example=-1), 'example is -1: give an int from 0 to 1'),
    (
      dict(n_rounds=(2, 5)),
      r'n_rounds is \(2, 5\), but the layer hashes 4 times: give ints from 1',
    ),
    (dict(n_rounds=(0,)), r'n_rounds is \(0,\)'),
  ],
)
def test_mistakes(options, message):
  with pytest.raises(ReformerError, match=message):
    attention_matrices(hashed(), **options)


def test_a_sequence_that_is_too_long():
  layer = hashed()
  long = layer._replace(q=np.zeros((1, 1, 2049, 8), np.float32))
  with pytest.raises(ReformerError, match='2,049 tokens: give at most 2,048'):
    attention_matrices(long)

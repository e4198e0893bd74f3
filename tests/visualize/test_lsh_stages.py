import numpy as np
import pytest
from matplotlib.text import Annotation

from tests.visualize.hashed import LENGTH, hashed
from tests.visualize.reading import texts_of
from tests.visualize.test_attention import softmax_of
from trax_reformer_ext import ReformerError
from trax_reformer_ext.ops.lsh_attention import lsh_attention
from trax_reformer_ext.visualize import lsh_stages, plot_lsh_stages

LABELS = [chr(ord('a') + i) for i in range(LENGTH)]


def test_stages_are_the_layers_own_values():
  layer = hashed(strictly_causal=True)
  stages = lsh_stages(layer, head=1, hash_round=2, example=1)
  q = np.asarray(layer.q[1, 1])
  unit = q / np.linalg.norm(q, axis=1, keepdims=True)
  np.testing.assert_allclose(stages.keys, unit, atol=1e-3)
  np.testing.assert_array_equal(stages.buckets, layer.buckets[1, 1, 2])
  in_order = [(stages.buckets[i], i) for i in stages.order]
  assert in_order == sorted(in_order) and len(set(in_order)) == LENGTH
  np.testing.assert_allclose(stages.full, softmax_of(q, True), atol=1e-5)
  out = lsh_attention(
    layer.q,
    layer.v,
    layer.buckets[:, :, 2:3],
    n_buckets=layer.n_buckets,
    **layer.options,
  )[1, 1]
  np.testing.assert_allclose(stages.weights @ layer.v[1, 1], out, atol=1e-5)
  assert (stages.chunk_len, stages.n_chunks_before) == (4, 1)


def test_the_picture_shows_the_sequence_as_it_is_sorted():
  stages = lsh_stages(hashed(strictly_causal=True))
  figure = plot_lsh_stages(stages, LABELS)
  strips, by_position, by_bucket, by_lsh, _ = figure.axes
  cells = {}
  for text in strips.texts:
    if isinstance(text, Annotation):
      continue  # the name of a row
    x, y = text.get_position()
    cells.setdefault(round(y, 2), []).append((x, text.get_text()))
  rows = [[text for _, text in sorted(cells[y])] for y in sorted(cells)]
  in_order = [LABELS[i] for i in stages.order]
  buckets = [str(b) for b in stages.buckets]
  assert rows == [LABELS, buckets, in_order, in_order, in_order]
  order = np.ix_(stages.order, stages.order)
  for axes, weights in (
    (by_position, stages.full),
    (by_bucket, stages.full[order]),
    (by_lsh, stages.weights[order]),
  ):
    np.testing.assert_array_equal(axes.images[0].get_array().filled(0), weights)
  np.testing.assert_array_equal(strips.images[0].get_array(), stages.keys.T)
  wanted = 'tokens', 'LSH buckets', 'sorted by bucket', 'in chunks: keys'
  assert {*wanted, 'queries', 'query', 'key'} <= set(texts_of(figure))
  n_buckets = len(set(buckets))
  assert len(by_bucket.patches) == n_buckets
  assert len(by_lsh.patches) == -(-LENGTH // 4)


def test_a_line_for_each_pair_that_is_attended():
  stages = lsh_stages(hashed(strictly_causal=True))
  (strips, *_) = plot_lsh_stages(stages, LABELS).axes
  n_pairs = (stages.weights >= 0.02).sum()
  assert len(strips.lines) == LENGTH + n_pairs


def test_labels_are_taken_literally():
  labels = ['$x^{', '\\frac', '$'] + ['$'] * (LENGTH - 3)
  figure = plot_lsh_stages(lsh_stages(hashed()), labels)
  figure.draw_without_rendering()
  assert '$x^{' in texts_of(figure)


@pytest.mark.parametrize(
  'options,message',
  [
    (dict(head=9), 'head is 9'),
    (dict(hash_round=4), 'hash_round is 4: give an int from 0 to 3'),
  ],
)
def test_mistakes(options, message):
  with pytest.raises(ReformerError, match=message):
    lsh_stages(hashed(), **options)


def test_labels_that_do_not_fit():
  with pytest.raises(ReformerError, match='labels has 2 entries for 22 tokens'):
    plot_lsh_stages(lsh_stages(hashed()), ['a', 'b'])


def test_too_many_tokens_to_read():
  stages = lsh_stages(hashed())
  long = stages._replace(buckets=np.zeros(65, np.int32))
  with pytest.raises(ReformerError, match='has 65 tokens, of which 64'):
    plot_lsh_stages(long, ['a'] * 65)

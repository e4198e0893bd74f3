import jax
import numpy as np
import pytest
from trax import layers as tl

from trax_reformer_ext import ChunkedCrossEntropyLoss, Metrics
from trax_reformer_ext.layers import SlicedLogits

VOCAB, D_MODEL, LENGTH = 11, 6, 7


def make_case():
  """Outputs in slices, the logits they stand for, targets and weights."""
  rng = np.random.default_rng(0)
  normal = lambda *shape: rng.normal(size=shape).astype('float32')
  x, kernel, bias = (
    normal(2, LENGTH, D_MODEL),
    normal(D_MODEL, VOCAB),
    normal(VOCAB),
  )
  layer = SlicedLogits(VOCAB, 3)
  outputs, _ = layer.pure_fn(x, (kernel, bias), (), None)
  logits = x @ kernel + bias
  targets = rng.integers(0, VOCAB, (2, LENGTH), np.int32)
  targets[:, ::2] = logits.argmax(axis=-1)[:, ::2]
  weights = rng.random((2, LENGTH)).astype('float32')
  weights[:, 0] = 0
  weights[1] = 0  # its slices still exist
  weights[1, 2] = 1
  return outputs, logits, targets, weights


def run(layer, *inputs):
  return jax.jit(lambda *xs: layer.pure_fn(xs, (), (), None)[0])(*inputs)


def test_chunked_loss_equals_trax():
  outputs, logits, targets, weights = make_case()
  assert outputs[0].shape == (3, 2, 3, D_MODEL)  # cut in slices, padded
  expected = run(tl.WeightedCategoryCrossEntropy(), logits, targets, weights)
  actual = run(ChunkedCrossEntropyLoss(), *outputs, targets, weights)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize('chunked', [False, True])
def test_metrics_equal_those_of_trax(chunked):
  outputs, logits, targets, weights = make_case()
  outputs = outputs if chunked else (logits,)
  metrics = Metrics(chunked=chunked)
  assert ('sequence_accuracy' in metrics) == (not chunked)
  known = dict(
    loss=tl.WeightedCategoryCrossEntropy(),
    accuracy=tl.WeightedCategoryAccuracy(),
  )
  values = {k: call(m, *outputs, targets, weights) for k, m in metrics.items()}
  for name, layer in known.items():
    expected = call(layer, logits, targets, weights)
    np.testing.assert_allclose(values[name], expected, rtol=1e-5)
  loss = values['loss']
  assert 0 < values['accuracy'] < 1
  np.testing.assert_allclose(values['neg_log_perplexity'], -loss, rtol=1e-6)
  np.testing.assert_allclose(values['bits_per_dim'], loss / np.log(2), 1e-6)
  np.testing.assert_allclose(
    values['weights_per_batch_per_core'], weights.sum(), rtol=1e-6
  )


def call(layer, *inputs):
  layer.init(jax.eval_shape(lambda *xs: xs, *inputs))
  return layer(inputs)


def test_chunked_loss_refuses_plain_logits():
  _, logits, targets, weights = make_case()
  kernel, bias = np.ones((6, 11), np.float32), np.ones(11, np.float32)
  with pytest.raises(Exception, match='(?s)train.loss_fn.*loss_chunk_size'):
    run(ChunkedCrossEntropyLoss(), logits, kernel, bias, targets, weights)

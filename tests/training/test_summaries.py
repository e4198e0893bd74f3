"""What TensorBoard shows of a run."""

import pytest
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util import tensor_util

from tests.training.small_loop import make_loop


def scalars(folder):
  """dict from tags to lists of (step, value)."""
  events = event_accumulator.EventAccumulator(str(folder))
  events.Reload()
  found = {tag: events.Scalars(tag) for tag in events.Tags()['scalars']}
  series = {t: [(e.step, e.value) for e in found[t]] for t in found}
  for tag in events.Tags()['tensors']:
    series[tag] = [
      (e.step, float(tensor_util.make_ndarray(e.tensor_proto)))
      for e in events.Tensors(tag)
      if not e.tensor_proto.tensor_shape.dim
      and tensor_util.make_ndarray(e.tensor_proto).dtype.kind in 'fi'
    ]
  return series


def test_scalars_of_a_run(tmp_path):
  loop = make_loop(tmp_path)
  loop.run(4)
  train, evaluation = scalars(tmp_path / 'train'), scalars(tmp_path / 'eval')
  for tag in (
    'training/seconds per step',
    'training/tokens per second',
    'training/peak memory in MiB',
    'training/learning_rate',
    'training/gradients_l2',
    'metrics/bits_per_dim',
  ):
    assert [step for step, _ in train[tag]] == [1, 2, 4], (tag, sorted(train))
    assert all(value > 0 for _, value in train[tag]), tag
  wanted = loop.history.get('eval', 'metrics/loss')
  for (step, value), (other, expected) in zip(
    evaluation['metrics/loss'], wanted, strict=True
  ):
    assert step == other and value == pytest.approx(expected)

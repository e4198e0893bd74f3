"""Steps whose loss or gradient is not finite."""

import gin
import jax
import numpy as np
import pytest

from tests.training.small_loop import make_loop
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.training import checkpoints


def text(bad_steps, first=1):
  """Batches by their steps; those of bad_steps have a loss that is NaN."""
  rng = np.random.default_rng(0)
  ids = rng.integers(3, 258, (100, 4, 32)).astype(np.int32)
  # Trax's task takes one batch as its sample before the first step.
  for step in (first, *range(first, 100)):
    weights = np.ones((4, 32), np.float32)
    if step in bad_steps:
      weights[1, 2] = np.nan
    yield ids[step], ids[step], weights


def test_stops_and_says_where_the_batch_is(tmp_path):
  loop = make_loop(tmp_path, train=text({5}))
  batch = tmp_path / 'bad_batch_step_5.npz'
  with pytest.raises(ReformerError) as e:
    loop.run(8)
  assert str(e.value) == (
    'the loss is nan at step 5, the last good checkpoint is of step 4, the '
    f'batch is in {batch}: lower the learning rate, or leave out more such '
    'steps than trax_reformer_ext.Checkpoints.max_bad_steps = 0'
  )
  ids, _, weights = next(text({5}, 5))
  with np.load(batch) as stored:
    np.testing.assert_array_equal(stored['arr_0'], ids)
    np.testing.assert_array_equal(stored['arr_2'], weights)
  assert checkpoints.find_last(tmp_path) == 4
  saved = checkpoints.read(tmp_path, 4)
  assert all(np.isfinite(w).all() for w in saved.weights)


def test_stops_before_there_is_a_checkpoint(tmp_path):
  loop = make_loop(tmp_path, train=text({1}))
  with pytest.raises(ReformerError, match='at step 1, no checkpoint is writ'):
    loop.run(2)


def test_leaves_such_steps_out(tmp_path, capsys):
  gin.bind_parameter('trax_reformer_ext.Checkpoints.max_bad_steps', 2)
  loop = make_loop(tmp_path, train=text({3, 5, 6}))
  loop.run(2)
  before = jax.tree.map(np.array, loop.model.weights)
  loop.run(1)
  for x, y in zip(
    jax.tree.leaves(loop.model.weights), jax.tree.leaves(before), strict=True
  ):
    np.testing.assert_array_equal(x, y)
  loop.run(5)
  assert loop.step == 8
  said = capsys.readouterr().out
  assert 'step 3  loss is nan: left out, 1 in a row of 2 that may be' in said
  assert 'step 6  loss is nan: left out, 2 in a row of 2 that may be' in said
  losses = loop.history.get('train', 'metrics/ChunkedCrossEntropyLoss')
  assert np.isfinite([loss for _, loss in losses]).all()


def test_leaves_no_more_out_than_it_may(tmp_path):
  gin.bind_parameter('trax_reformer_ext.Checkpoints.max_bad_steps', 2)
  loop = make_loop(tmp_path, train=text({3, 5, 6, 7}))
  with pytest.raises(ReformerError, match='nan at step 7, .* of step 6'):
    loop.run(8)


def test_without_a_directory(capsys):
  with pytest.raises(ReformerError, match='nan at step 2: lower the learning'):
    make_loop(None, train=text({2})).run(3)

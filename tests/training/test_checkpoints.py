"""Checkpoints and going on from them, in one process."""

import shutil

import gin
import jax
import numpy as np
import pytest
from trax import optimizers

from tests.training.small_loop import make_loop
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.training import checkpoints, run_dir
from trax_reformer_ext.training.checkpoints import steps_to_keep


def steps(folder):
  return sorted(int(p.name) for p in (folder / 'checkpoints').iterdir())


def contents(folder):
  return {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def arrays(loop):
  """Weights and optimizer slots."""
  return jax.tree.leaves((loop.model.weights, loop._trainer_per_task[0].slots))


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A run of six steps without a stop."""
  folder = tmp_path_factory.mktemp('whole')
  loop = make_loop(folder)
  loop.run(6)
  return folder, loop


@pytest.mark.parametrize('parts', [(2, 4), (1, 1, 4), (5, 1)])
def test_a_run_with_stops_comes_to_the_same_bits(parts, tmp_path, whole):
  done = 0
  for n in parts:
    loop = make_loop(tmp_path, seed=3 + done)  # the run's own seed counts
    assert loop.step == done
    loop.run(n)
    done += n
  for x, y in zip(arrays(loop), arrays(whole[1]), strict=True):
    np.testing.assert_array_equal(x, y)


def test_a_run_that_goes_on_has_the_whole_history(tmp_path, whole):
  make_loop(tmp_path).run(4)
  loop = make_loop(tmp_path)
  loop.run(2)
  for name in ('metrics/loss', 'metrics/bits_per_dim'):
    wanted = whole[1].history.get('eval', name)
    assert loop.history.get('eval', name) == wanted
  assert [s for s, _ in wanted] == [1, 2, 4, 6]


def test_what_is_kept(tmp_path):
  gin.bind_parameter('trax_reformer_ext.Checkpoints.keep_last', 1)
  loop = make_loop(
    tmp_path,
    every=2,
    permanent_checkpoint_at=lambda step: step == 4,
    checkpoint_high_metric='bits_per_dim',  # the first, as it goes down
  )
  loop.run(8)
  assert steps(tmp_path) == [1, 4, 8]
  loop = make_loop(tmp_path)
  loop.save_checkpoint('by_hand')  # outside of a run, at once
  loop.close()
  assert loop.step == 8


def about(permanent=False, **metrics):
  return {'permanent': permanent, 'metrics': metrics}


def test_steps_to_keep():
  complete = {
    1: about(loss=3.0),
    2: about(loss=1.0),
    3: about(True),
    4: about(loss=1.0),
    5: about(loss=float('nan')),
    6: about(loss=2.0),
  }
  assert steps_to_keep(complete, 1) == {3, 6}
  assert steps_to_keep(complete, 2, lowest='loss') == {3, 4, 5, 6}
  assert steps_to_keep(complete, 1, 'other', 'loss') == {1, 3, 6}
  assert steps_to_keep({}, 3) == set()


@pytest.fixture
def run(tmp_path, whole):
  """A copy of the run of six steps."""
  folder = tmp_path / 'run'
  shutil.copytree(whole[0], folder)
  return folder


def damage(path, how):
  whole = path.read_bytes()
  if how == 'truncated':
    path.write_bytes(whole[: len(whole) // 2])
  elif how == 'removed':
    path.unlink()
  else:
    i = len(whole) // 3
    path.write_bytes(whole[:i] + bytes([whole[i] ^ 16]) + whole[i + 1 :])


@pytest.mark.parametrize('how', ['truncated', 'flipped', 'removed'])
def test_every_damaged_file_is_found_and_named(how, run, capsys):
  last = run / 'checkpoints' / '6'
  files = [p for p in last.rglob('*') if p.is_file() and p.stat().st_size]
  assert len(files) > 10
  for path in files:
    whole = path.read_bytes()
    damage(path, how)
    assert checkpoints.find_last(run, say=print) == 4, path
    said = capsys.readouterr().out
    if path.name == 'manifest.json' and how == 'removed':
      assert said == ''  # as one that was never complete
    else:
      assert (
        f'checkpoint {last} is damaged ({path.relative_to(last)} is ' in said
      )
      assert said.endswith('): the one of step 4 is used\n')
    path.write_bytes(whole)
  assert checkpoints.find_last(run) == 6
  (last / 'weights' / 'more').write_bytes(b'')
  assert checkpoints.find_last(run) == 4


def test_a_run_goes_on_from_the_one_before_a_damaged_one(run, whole, capsys):
  damage(run / 'checkpoints' / '6' / 'manifest.json', 'flipped')
  loop = make_loop(run)
  assert loop.step == 4
  assert 'the one of step 4 is used' in capsys.readouterr().err
  loop.run(2)
  for x, y in zip(arrays(loop), arrays(whole[1]), strict=True):
    np.testing.assert_array_equal(x, y)
  assert steps(run) == [4, 6]
  assert (run / 'damaged_checkpoints' / '6' / 'manifest.json').is_file()


def test_damaged_checkpoints_and_no_other(run):
  for step in ('4', '6'):
    damage(run / 'checkpoints' / step / 'run' / 'metadata', 'truncated')
  before = contents(run)
  with pytest.raises(ReformerError, match='6 is damaged .* there is no other'):
    make_loop(run)
  assert contents(run) == before


def test_what_was_not_complete_is_cleared(run, whole):
  shutil.copytree(run / 'checkpoints' / '4', run / 'checkpoints' / '8')
  (run / 'checkpoints' / '8' / 'manifest.json').unlink()
  (run / 'checkpoints' / '9.orbax-checkpoint-tmp').mkdir()
  loop = make_loop(run)
  assert loop.step == 6
  loop.run(2)
  assert steps(run) == [6, 8]


def test_two_runs_in_one_directory(tmp_path):
  loop = make_loop(tmp_path)
  with pytest.raises(ReformerError, match='in which another run is training'):
    make_loop(tmp_path)
  loop.close()
  make_loop(tmp_path).close()


def test_another_optimizer_is_refused(run):
  before = contents(run)
  with pytest.raises(ReformerError, match='a run of another optimizer'):
    make_loop(run, optimizer=optimizers.Momentum)
  assert contents(run) == before


def test_weights_alone_are_read_for_use(run):
  stored = run_dir.read_weights(run)
  loop = make_loop(run)
  for x, y in zip(stored, jax.tree.leaves(loop.model.weights), strict=True):
    np.testing.assert_array_equal(x, y)
  loop.close()


def test_traxs_files_too_and_a_run_that_goes_on_from_them(tmp_path, whole):
  gin.bind_parameter('trax_reformer_ext.Checkpoints.trax_format', True)
  loop = make_loop(tmp_path / 'a')
  loop.run(2)
  names = {p.name for p in (tmp_path / 'a').iterdir() if p.is_file()}
  assert {'model.pkl.gz', 'model.weights.npy.gz'} < names
  (tmp_path / 'b').mkdir()
  for path in (tmp_path / 'a').glob('model*'):
    shutil.copy(path, tmp_path / 'b')
  other = make_loop(tmp_path / 'b')
  assert other.step == 2
  for x, y in zip(arrays(loop), arrays(other), strict=True):
    np.testing.assert_array_equal(x, y)
  other.close()


def test_options_are_checked(tmp_path):
  gin.bind_parameter('trax_reformer_ext.Checkpoints.keep_last', 0)
  with pytest.raises(ReformerError, match='Checkpoints.keep_last is 0: give'):
    make_loop(tmp_path)
  gin.clear_config()
  with pytest.raises(ReformerError, match="is 'los': give one of accuracy"):
    make_loop(tmp_path, checkpoint_low_metric='los')
  assert not list(tmp_path.iterdir())


def test_memory_efficient_trainer_goes_on_too(tmp_path):
  options = dict(use_memory_efficient_trainer=True, dropout=0.1)
  results = []
  for name, parts in (('a', (3,)), ('b', (2, 1))):
    for n in parts:
      loop = make_loop(
        tmp_path / name, optimizer=lambda: optimizers.Adam, **options
      )
      loop.run(n)
    results.append(jax.tree.leaves(loop.model.weights))
  for x, y in zip(*results, strict=True):
    np.testing.assert_array_equal(x, y)

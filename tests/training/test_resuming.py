"""A run that goes on reads the batches that one without a stop would read."""

import pytest

from trax_reformer_ext import cli
from trax_reformer_ext.data.inputs import SeekableBatches, SeekableInputs


@pytest.mark.slow
def test_a_run_goes_on_at_the_batch_where_it_stopped(tmp_path, monkeypatch):
  seen = []

  class Recorded(SeekableBatches):
    def __next__(self):
      seen.append(super().__next__())
      return seen[-1]

  def train(name, n_steps):
    """The batches of the steps of a run, as bytes."""
    seen.clear()
    arguments = ['train', '--config_file=quickstart', '--config_file=tiny']
    arguments += [f'--config=train.steps = {n_steps}']
    arguments += ['--config=trax_reformer_ext.report.sample_length = 0']
    assert cli.main([*arguments, f'--output_dir={tmp_path / name}']) == 0
    # One for the shapes, one as a sample, and one for the shapes again in the
    # report.
    return [batch[0].tobytes() for batch in seen[2:-1]]

  monkeypatch.setattr(
    SeekableInputs,
    'train_batches',
    lambda inputs, first=0: Recorded(inputs._train, first),
  )
  whole = train('whole', 4)
  parts = train('parts', 2) + train('parts', 4)
  assert len(set(whole)) == 4
  assert parts == whole

"""Each notebook runs from top to bottom, at small settings."""

import pytest

from tests.colab import notebooks

# Small settings, and how many pictures there are to see.
RUNS = {
  'illustrated_reformer': (
    dict(N_BLOCKS=4, DEPTHS=[1, 2], LENGTHS=[256, 512], LONGEST_EXACT=512),
    10,
  ),
  'text_generation': (
    dict(LENGTH=256, N_STEPS=4, N_EVALUATIONS=2, N_SAMPLED=16, ROUNDS=[1, 2]),
    3,
  ),
  'image_generation': (
    dict(N_STEPS=2, N_EVALUATIONS=2, KEEP_ROWS=63, N_COMPLETED=1, N_SAMPLES=1),
    3,
  ),
  'machine_translation': (
    dict(
      N_STEPS=4,
      N_EVALUATIONS=2,
      BATCH_TOKENS=256,
      VOCAB_SIZE=100,
      D_MODEL=16,
      D_FF=32,
      N_TEST=8,
    ),
    2,
  ),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', RUNS)
def test_it_runs(name, tmp_path, monkeypatch):
  """On what the notebook itself brings, as without REFORMER_DATA."""
  monkeypatch.delenv('REFORMER_DATA', raising=False)
  parameters, n_pictures = RUNS[name]
  executed = notebooks.execute(name, tmp_path, parameters)
  assert len(notebooks.pictures(executed)) == n_pictures


@pytest.mark.slow
def test_images_are_completed_by_a_checkpoint(tmp_path):
  parameters, n_pictures = RUNS['image_generation']
  notebooks.execute('image_generation', tmp_path, parameters)
  (trained,) = tmp_path.glob('completed.png')
  pixels = trained.read_bytes()
  trained.unlink()
  loaded = parameters | {'CHECKPOINT': 'image_run/model.pkl.gz'}
  executed = notebooks.execute('image_generation', tmp_path, loaded)
  # All but the learning curve, and the same completions.
  assert len(notebooks.pictures(executed)) == n_pictures - 1
  assert trained.read_bytes() == pixels


@pytest.mark.slow
@pytest.mark.parametrize(
  'name, more, said',
  [
    ('text_generation', {}, 'Crime and Punishment: 1,'),
    ('image_generation', {'IMAGES': 'imagenet64_sample_900.npz'}, ''),
    ('machine_translation', {'VOCAB_SIZE': 300}, 'Multi30k: 29,000 1,014'),
  ],
)
def test_it_runs_on_real_data(name, more, said, real, tmp_path):
  parameters, n_pictures = RUNS[name]
  if 'IMAGES' in more:
    more = {'IMAGES': str(real / more['IMAGES'])}
  executed = notebooks.execute(name, tmp_path, parameters | more)
  assert len(notebooks.pictures(executed)) == n_pictures
  assert said in notebooks.printed(executed)

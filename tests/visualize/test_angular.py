import numpy as np
import pytest

from tests.visualize.reading import texts_of
from trax_reformer_ext import ReformerError
from trax_reformer_ext.visualize import (
  angular_lsh,
  animate_angular_lsh,
  plot_angular_lsh,
)

TURNS = [0.3, 2.0, -1.2]
FAR, NEAR = (0.1, 2.3), (0.1, 0.2)


def pairs():
  return angular_lsh(FAR, TURNS), angular_lsh(NEAR, TURNS)


def captions(figure):
  return [t for t in texts_of(figure) if t.startswith(('both in', 'x in'))]


def test_points_are_turned_and_hashed_by_quarters():
  rng = np.random.default_rng(0)
  angles, turns = rng.uniform(-9, 9, 20), rng.uniform(-9, 9, 7)
  hashed = angular_lsh(angles, turns)
  turned = np.exp(1j * (angles + turns[:, None]))
  rotated = np.stack([turned.real, turned.imag], -1)
  np.testing.assert_allclose(hashed.rotated, rotated, atol=1e-5)
  quarters = np.round(np.angle(turned) / (np.pi / 2)) % 4
  np.testing.assert_array_equal(hashed.buckets, quarters)


def test_near_points_share_more_buckets_than_far_ones():
  turns = np.random.default_rng(0).uniform(-np.pi, np.pi, 1000)
  share = lambda pair: np.mean(np.equal(*angular_lsh(pair, turns).buckets.T))
  # Apart by d < 90 degrees, they are parted by d of every 90 turns.
  assert share(FAR) == 0
  assert abs(share(NEAR) - (1 - 0.1 / (np.pi / 2))) < 0.03


def test_the_picture_says_who_shares_a_bucket():
  far, near = pairs()
  want = []
  for pair in (far, near):
    for x, y in pair.buckets:
      want.append(f'both in bucket {x}' if x == y else f'x in {x}, y in {y}')
  figure = plot_angular_lsh(far, near)
  assert sorted(captions(figure)) == sorted(want)
  texts = texts_of(figure)
  for text in ('two far points', 'two near points', 'rotation 3'):
    assert text in texts


def test_the_animation_turns_and_ends_as_the_picture(tmp_path):
  from matplotlib.animation import AbstractMovieWriter

  class Captions(AbstractMovieWriter):
    """Reads frames instead of writing them."""

    seen = []

    def setup(self, figure, outfile, dpi=None):
      super().setup(figure, outfile, dpi)

    def grab_frame(self, **options):
      axes = self.fig.axes[1]
      places = [tuple(line.get_xydata()[0]) for line in axes.lines]
      self.seen.append((captions(self.fig), places))

    def finish(self):
      pass

  far, near = pairs()
  writer = Captions()
  animate_angular_lsh(far, near).save(str(tmp_path / 'x'), writer=writer)
  (first, start), *between, (last, end) = writer.seen
  assert first == []
  np.testing.assert_allclose(
    start, np.exp(1j * np.array(FAR)).view(float).reshape(2, 2), atol=1e-6
  )
  np.testing.assert_allclose(end, far.rotated[0], atol=1e-6)
  # The points move by small steps.
  places = [start, *(p for _, p in between[:10])]
  steps = np.abs(np.diff(places, axis=0)).max()
  assert 0 < steps < 0.2
  assert sorted(last) == sorted(captions(plot_angular_lsh(far, near)))


@pytest.mark.parametrize(
  'far,near,message',
  [
    ((FAR, TURNS), (NEAR, TURNS[:2]), 'near has the turns'),
    (((1, 2, 3), TURNS), (NEAR, TURNS), 'far has 3 points: give two'),
  ],
)
def test_pairs_that_do_not_fit(far, near, message):
  with pytest.raises(ReformerError, match=message):
    plot_angular_lsh(angular_lsh(*far), angular_lsh(*near))


@pytest.mark.parametrize('angles,turns', [([[1]], [1]), ([1], [])])
def test_angles_that_are_no_row(angles, turns):
  with pytest.raises(ReformerError, match='give one row of angles'):
    angular_lsh(angles, turns)

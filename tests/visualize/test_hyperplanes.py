import numpy as np
import pytest

from tests.visualize.reading import texts_of
from trax_reformer_ext import ReformerError
from trax_reformer_ext.visualize import cut_plane, plot_hyperplanes


def random_cut(n_points=50, n_planes=3, seed=0):
  rng = np.random.default_rng(seed)
  return cut_plane(
    rng.normal(size=(n_points, 2)), rng.normal(size=(n_planes, 2))
  )


@pytest.mark.parametrize('n_planes', [1, 3, 8])
def test_a_bit_says_on_which_side_of_a_line_a_point_is(n_planes):
  points, normals, codes = random_cut(n_planes=n_planes)
  for point, code in zip(points, codes, strict=True):
    for i, normal in enumerate(normals):
      assert code >> i & 1 == (point @ normal < 0)


def test_points_in_one_direction_have_one_code():
  _, normals, _ = random_cut()
  codes = cut_plane([[1, 2], [0.1, 0.2], [-1, -2]], normals).codes
  assert codes[0] == codes[1]
  assert codes[0] ^ codes[2] == 0b111


def test_the_picture_names_each_region_and_line():
  cut = random_cut()
  figure = plot_hyperplanes(cut)
  texts = texts_of(figure)
  regions = {t for t in texts if set(t) <= set('01') and len(t) == 3}
  # Three lines through the origin make six regions.
  assert len(regions) == 6
  assert {f'{c:03b}'[::-1] for c in cut.codes} <= regions
  assert {'$r_{1}$', '$r_{2}$', '$r_{3}$', '$x_1$', '$x_2$'} <= set(texts)
  (dots,) = figure.axes[0].collections
  np.testing.assert_array_equal(dots.get_offsets(), cut.points)
  colours = {}
  for code, colour in zip(cut.codes, dots.get_facecolors(), strict=True):
    colours.setdefault(code, set()).add(tuple(colour))
  assert all(len(x) == 1 for x in colours.values())
  assert len(set.union(*colours.values())) == len(colours)


def test_many_hyperplanes_can_be_drawn():
  texts = texts_of(plot_hyperplanes(random_cut(n_planes=12)))
  assert sum(len(t) == 12 and set(t) <= set('01') for t in texts) >= 6


@pytest.mark.parametrize(
  'points,normals,message',
  [
    ([1, 2], [[1, 2]], r'points has the shape \(2,\): give one of \(n, 2\)'),
    ([[1, 2]], [[1, 2, 3]], r'normals has the shape \(1, 3\)'),
    ([[1, 2]], np.ones((17, 2)), 'normals has 17 rows: give 1 to 16'),
  ],
)
def test_mistakes(points, normals, message):
  with pytest.raises(ReformerError, match=message):
    cut_plane(points, normals)

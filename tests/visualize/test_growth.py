import numpy as np
import pytest

from tests.visualize.reading import legend_of
from trax_reformer_ext import ReformerError
from trax_reformer_ext.visualize import plot_memory, plot_time, read_curves

MEASURED = {
  'this package': {'2048': 11.5, '1024': 10},
  'Trax': {'1024': 20.25},
  'exact, JAX': {'1024': 5, '2048': 10},
  'left out': {},
}


def test_curves_are_read_in_the_order_of_their_sizes():
  assert read_curves(MEASURED, 'x') == {
    'this package': [(1024, 10), (2048, 11.5)],
    'Trax': [(1024, 20.25)],
    'exact, JAX': [(1024, 5), (2048, 10)],
  }


@pytest.mark.parametrize(
  'measured',
  [
    [1, 2],
    None,
    {},
    {'a': {}},
    {'a': 3},
    {'a': {'x': 3}},
    {'a': {'1': 'x'}},
    {'a': {'1': None}},
    {'a': {'0': 1}},
    {'a': {'1': 0}},
    {'a': {'1': float('nan')}},
    {'a': {'1': float('inf')}},
  ],
)
def test_what_is_no_measurement(measured):
  with pytest.raises(ReformerError, match='x is 3, which is no measurement'):
    read_curves(measured, 'x is 3')


@pytest.mark.parametrize(
  'plot,unit,scale',
  [
    (plot_time, ('length, tokens', 'microseconds a token'), 'log'),
    (plot_memory, ('layers', 'temporary memory, MiB'), 'linear'),
  ],
)
def test_the_picture_has_all_curves_and_units(plot, unit, scale):
  curves = read_curves(MEASURED, 'x')
  figure = plot(curves, 'a title')
  (axes,) = figure.axes
  assert legend_of(axes) == list(curves)
  assert (axes.get_xlabel(), axes.get_ylabel()) == unit
  assert axes.get_xscale() == axes.get_yscale() == scale
  assert axes.get_title() == 'a title'
  for line, curve in zip(axes.lines, curves.values(), strict=True):
    np.testing.assert_array_equal(line.get_xydata(), curve)
  looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
  assert len(looks) == len(curves)
  figure.draw_without_rendering()
  ticks = [t.get_text() for t in axes.get_xticklabels()]
  assert ticks == (['1K', '2K'] if scale == 'log' else ['1024', '2048'])


@pytest.mark.parametrize('plot', [plot_time, plot_memory])
def test_titles_and_labels_are_taken_literally_and_fit(plot):
  title = 'costs $x^{ ' + 'a rather long title ' * 8
  figure = plot(read_curves({'$x^{': {'1': 2}}, 'x'), title)
  (axes,) = figure.axes
  figure.draw_without_rendering()
  assert axes.get_title().replace('\n', ' ') == title.strip()
  assert legend_of(axes) == ['$x^{']
  box = axes.title.get_window_extent()
  assert box.x0 >= 0 and box.x1 <= figure.bbox.width

import numpy as np

from tests.visualize.reading import legend_of, texts_of
from trax_reformer_ext.visualize import plot_learning_curves

CURVES = {'training': [(1, 8), (10, 4)], 'held-out': [(10, 4.5)]}


def test_one_run_has_its_curves_and_levels():
  figure = plot_learning_curves(
    {'a run': CURVES}, {'order-1 entropy': 3.415}, 'bits per byte'
  )
  (axes,) = figure.axes
  assert legend_of(axes) == ['training', 'held-out']
  training, held_out, level = axes.lines
  np.testing.assert_array_equal(training.get_xydata(), CURVES['training'])
  np.testing.assert_array_equal(held_out.get_xydata(), CURVES['held-out'])
  assert set(level.get_ydata()) == {3.415}
  assert 'order-1 entropy: 3.42' in texts_of(figure)
  assert axes.get_ylabel() == 'bits per byte'
  assert axes.get_xlabel() == 'training step'


def test_runs_have_a_colour_each():
  (axes,) = plot_learning_curves({'a': CURVES, 'b': CURVES}).axes
  assert legend_of(axes) == [
    *('a: training', 'a: held-out'),
    *('b: training', 'b: held-out'),
  ]
  colours = [line.get_color() for line in axes.lines]
  assert colours[0] == colours[1] != colours[2] == colours[3]
  assert axes.get_ylabel() == 'bits per dim'

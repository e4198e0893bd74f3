"""Reversible blocks, and how exactly they are reversed (section 3)."""

import numpy as np

from trax_reformer_ext.visualize.style import (
  COLOURS,
  bare_axes,
  new_figure,
  open_axes,
)


def reconstruction_errors(layer, xs, rng):
  """How far reconstructed inputs of reversible blocks are from the real ones.

  Args:
    layer: initialised ReversibleSerial of n_repeats blocks.
    xs: tuple of float arrays [batch, ...], inputs of the first block, in the
      type in which the blocks are to compute.
    rng: JAX PRNG key.

  Returns:
    float64 [batch, n_repeats]: the error of each example after walking back 1,
    2, ... blocks from the outputs, |x' - x| / |x| of all inputs of a block.
  """
  inputs, again = layer.reconstructed(xs, rng)

  def flat(xs):  # [n_repeats, batch, all features]
    xs = [np.asarray(x, np.float64) for x in xs]
    return np.concatenate([x.reshape(*x.shape[:2], -1) for x in xs], axis=2)

  inputs, again = flat(inputs), flat(again)
  norm = lambda x: np.linalg.norm(x, axis=2)
  return (norm(again - inputs) / norm(inputs))[::-1].T


def plot_reversibility(errors):
  """Draws a reversible block, and the errors of stacks of them by depth.

  Args:
    errors: dict from names (types) to float [batch, n_blocks], as of
      reconstruction_errors.

  Returns:
    matplotlib's Figure.
  """
  figure = new_figure(8.2, 4.4)
  left, right = figure.subfigures(1, 2, width_ratios=(3, 4.2))
  above, below = left.subplots(2, 1)
  _draw_block(above, forward=True)
  _draw_block(below, forward=False)
  _draw_errors(right.subplots(), errors)
  return figure


def _draw_errors(axes, errors):
  for (name, of_inputs), colour, marker in zip(
    errors.items(), COLOURS, 'osD^vPX*', strict=False
  ):
    depth = np.arange(1, of_inputs.shape[1] + 1)
    axes.plot(
      depth,
      np.median(of_inputs, 0),
      color=colour,
      marker=marker,
      markersize=3.5,
      label=name,
    )
    if len(of_inputs) > 1:
      axes.fill_between(
        depth, of_inputs.min(0), of_inputs.max(0), color=colour, alpha=0.2
      )
  axes.set(
    yscale='log',
    xlabel='blocks walked back',
    ylabel="relative error |x' - x| / |x|",
    title='reconstruction from the outputs alone',
  )
  axes.title.set_fontsize(11)
  n = len(next(iter(errors.values())))
  title = f'activations: median and range of {n} inputs' if n > 1 else None
  axes.legend(fontsize=9, title=title, title_fontsize=9)
  open_axes(axes)


def _draw_block(axes, forward):
  """y1 = x1 + Attention(x2), y2 = x2 + FeedForward(y1), or its inverse."""
  bare_axes(axes)
  axes.set(xlim=(0, 10), ylim=(0.3, 4.4))
  axes.set_title('forward' if forward else 'backward', fontsize=11)
  sign = '+' if forward else '−'
  start, end = (0.9, 9.1) if forward else (9.1, 0.9)
  for i, y in ((1, 3.6), (2, 1.0)):
    for x, name in ((0.4, 'x'), (9.6, 'y')):
      axes.text(x, y, f'${name}_{i}$', ha='center', va='center', fontsize=12)
    _arrow(axes, (start, y), (end, y))
  first = '$y_1 = x_1 + Att(x_2)$', '$y_2 = x_2 + FF(y_1)$'
  if not forward:
    first = '$x_2 = y_2 - FF(y_1)$', '$x_1 = y_1 - Att(x_2)$'
  axes.set_xlabel(',  '.join(first), fontsize=9)
  # Attention takes the lower stream to the upper one, feed-forward back.
  for x, low, high, name, colour in (
    (3.2, 1.0, 3.6, 'Attention', COLOURS[0]),
    (6.8, 3.6, 1.0, 'Feed-\nForward', COLOURS[1]),
  ):
    side = 0.28 if high > low else -0.28
    _arrow(axes, (x, low), (x, high - side), colour)
    axes.text(
      x,
      2.3,
      name,
      ha='center',
      va='center',
      fontsize=9,
      color='white',
      bbox=dict(boxstyle='round,pad=0.35', facecolor=colour, linewidth=0),
    )
    axes.text(
      x,
      high,
      sign,
      ha='center',
      va='center',
      fontsize=11,
      bbox=dict(boxstyle='circle,pad=0.12', facecolor='white'),
    )


def _arrow(axes, start, end, colour='0.25'):
  axes.annotate(
    '', end, start, arrowprops=dict(arrowstyle='-|>', color=colour, lw=1.3)
  )

"""Angular hashing of points on a circle (Kitaev et al. 2020, Figure 1)."""

from typing import NamedTuple

import numpy as np

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.ops.hashing import hash_vectors
from trax_reformer_ext.visualize.style import COLOURS, bare_axes, new_figure

N_BUCKETS = 4
_FRAMES_TURNING, _FRAMES_RESTING = 10, 4
_SHADES = ('#cfe3f3', '#f6ead0', '#ecd9e6', '#cfe8df')


class Rotated(NamedTuple):
  """Two points of a circle under several rotations, and their buckets.

  Attributes:
    angles: float32 [n_points], where the points are, in radians.
    turns: float32 [n_rounds], by how much each round turns, in radians.
    rotated: float32 [n_rounds, n_points, 2], the points after the turns.
    buckets: int32 [n_rounds, n_points], in [0, 4).
  """

  angles: np.ndarray
  turns: np.ndarray
  rotated: np.ndarray
  buckets: np.ndarray


def angular_lsh(angles, turns):
  """Hashes points of a circle into four buckets under rotations.

  h(x) = argmax([xR; -xR]), by hash_vectors, with R a rotation of the plane:
  bucket b holds what is turned to within 45 degrees of b * 90 degrees.

  Args:
    angles: float [n_points], in radians.
    turns: float [n_rounds], in radians.

  Returns:
    Rotated.

  Raises:
    ReformerError: other shapes.
  """
  angles, turns = _row('angles', angles), _row('turns', turns)
  points = _on_circle(angles)
  cos, sin = np.cos(turns), np.sin(turns)
  rotations = np.array([[cos, sin], [-sin, cos]])  # [2, 2, rounds]
  rotations = np.moveaxis(rotations, 2, 1)[None].astype(np.float32)
  buckets = hash_vectors(points[None, None], rotations, N_BUCKETS)[0, 0]
  rotated = np.einsum('pd,drk->rpk', points, rotations[0])
  return Rotated(angles, turns, rotated, np.asarray(buckets))


def plot_angular_lsh(far, near):
  """Draws two far and two near points under rotations: Figure 1.

  Args:
    far: Rotated, of two points.
    near: Rotated, of two others, under the same rotations.

  Returns:
    matplotlib's Figure.

  Raises:
    ReformerError: other rotations, or other numbers of points.
  """
  return _Scene(far, near).figure


def animate_angular_lsh(far, near):
  """As plot_angular_lsh, but the rotations are seen one after another.

  Args:
    far: Rotated, of two points.
    near: Rotated, of two others, under the same rotations.

  Returns:
    matplotlib's FuncAnimation.

  Raises:
    ReformerError: as plot_angular_lsh.
  """
  from matplotlib.animation import FuncAnimation

  scene = _Scene(far, near)
  frames = scene.frames()
  return FuncAnimation(
    scene.figure, scene.show, frames=frames, init_func=lambda: [], blit=False
  )


class _Scene:
  """A row of circles for each pair: as it is, and under each rotation."""

  def __init__(self, far, near):
    _check(far, near)
    self._pairs = far, near
    self._n = len(far.turns)
    self.figure = new_figure(8, 4.9)
    self._axes = self.figure.subplots(2, 1 + self._n, squeeze=False)
    self._drawn = []
    titles = 'points on the circle', *(f'rotation {i + 1}' for i in range(99))
    for row, name in zip(self._axes, ('far', 'near'), strict=True):
      for axes, title in zip(row, titles, strict=False):
        bare_axes(axes)
        axes.set(xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), aspect='equal')
        if name == 'far':
          axes.set_title(title, fontsize=11)
      row[0].set_ylabel(f'two {name} points', fontsize=11)
    for row, pair in zip(self._axes, self._pairs, strict=True):
      _draw_circle(row[0], sectors=False)
      _draw_points(row[0], _on_circle(pair.angles))
      for axes in row[1:]:
        _draw_circle(axes, sectors=True)
    self.show(None)
    # The places of the axes stay as they are at the end.
    self.figure.draw_without_rendering()
    self.figure.set_layout_engine('none')

  def frames(self):
    """What show() takes, in turn: (round, share of its turn)."""
    frames = []
    for i in range(self._n):
      frames += [(i, t) for t in np.linspace(0, 1, _FRAMES_TURNING)]
      frames += [(i, 1.0)] * _FRAMES_RESTING
    return frames + [None] * (2 * _FRAMES_RESTING)

  def show(self, moment):
    """Draws a moment; None for the end, when all have turned."""
    for artist in self._drawn:
      artist.remove()
    self._drawn = []
    for r in range(self._n):
      share = 1.0
      if moment is not None:
        share = moment[1] if r == moment[0] else float(r < moment[0])
        if r > moment[0]:
          continue
      for row, pair in zip(self._axes, self._pairs, strict=True):
        self._drawn += self._draw_round(row[r + 1], pair, r, share)
    return self._drawn

  def _draw_round(self, axes, pair, r, share):
    # From slow to slow, so that the eye can follow.
    share = 0.5 - 0.5 * np.cos(np.pi * share)
    turned = pair.angles + share * pair.turns[r]
    drawn = _draw_points(axes, _on_circle(turned))
    if share < 1:
      return drawn
    buckets = pair.buckets[r]
    same = (buckets == buckets[0]).all()
    label = f'x in {buckets[0]}, y in {buckets[1]}'
    drawn.append(
      axes.text(
        0,
        -1.33,
        f'both in bucket {buckets[0]}' if same else label,
        ha='center',
        va='top',
        fontsize=10,
        weight='bold' if same else 'normal',
        color=COLOURS[2] if same else '0.25',
      )
    )
    return drawn


def _draw_circle(axes, sectors):
  from matplotlib.patches import Circle, Wedge

  for b in range(N_BUCKETS if sectors else 0):
    middle = 360 / N_BUCKETS * b
    half = 180 / N_BUCKETS
    wedge = Wedge((0, 0), 1, middle - half, middle + half)
    wedge.set(facecolor=_SHADES[b], edgecolor='0.6', linewidth=0.8)
    axes.add_patch(wedge)
    x, y = 0.45 * _on_circle(np.radians([middle]))[0]
    axes.text(x, y, str(b), ha='center', va='center', color='0.45', fontsize=12)
  axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor='0.3', linewidth=1.2))


def _draw_points(axes, points):
  """Two points and their names."""
  drawn = []
  for i, (x, y) in enumerate(points):
    colour, name = COLOURS[i], 'xy'[i]
    drawn += axes.plot(
      x, y, marker='os'[i], color=colour, markersize=8, markeredgecolor='white'
    )
    drawn.append(
      axes.text(
        1.2 * x,
        1.2 * y,
        name,
        ha='center',
        va='center',
        color=colour,
        fontsize=12,
        style='italic',
      )
    )
  return drawn


def _on_circle(angles):
  return np.stack([np.cos(angles), np.sin(angles)], -1).astype(np.float32)


def _row(name, x):
  x = np.asarray(x, np.float32)
  if x.ndim != 1 or not len(x):
    raise ReformerError(
      f'{name} has the shape {x.shape}: give one row of angles in radians'
    )
  return x


def _check(far, near):
  for name, pair in (('far', far), ('near', near)):
    if len(pair.angles) != 2:
      raise ReformerError(
        f'{name} has {len(pair.angles)} points: give two of them'
      )
  if not np.array_equal(far.turns, near.turns):
    raise ReformerError(
      f'near has the turns {near.turns}, far has {far.turns}: give both the '
      'same'
    )

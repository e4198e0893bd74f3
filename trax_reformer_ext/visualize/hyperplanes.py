"""Random hyperplanes that cut a plane into hash codes."""

from typing import NamedTuple

import numpy as np

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.ops.hashing import hash_vectors
from trax_reformer_ext.visualize.style import (
  COLOURS,
  colours_of,
  new_figure,
)

_GRID = 400


class CutPlane(NamedTuple):
  """Points of the plane and their hash codes.

  Attributes:
    points: float32 [n_points, 2].
    normals: float32 [n_planes, 2], a vector across each hyperplane through
      the origin (in the plane: a line).
    codes: int32 [n_points]; bit i is set where point . normal_i < 0.
  """

  points: np.ndarray
  normals: np.ndarray
  codes: np.ndarray


def cut_plane(points, normals):
  """Hashes points of the plane by the sides of hyperplanes they are on.

  This is hash_vectors with two buckets for each hyperplane, h_i(x) =
  argmax([x . r_i; -x . r_i]), all of them together one number: the factorised
  hash [2, 2, ...] of the layers.

  Args:
    points: float [n_points, 2].
    normals: float [n_planes, 2].

  Returns:
    CutPlane.

  Raises:
    ReformerError: other shapes, or more than 16 hyperplanes.
  """
  points = _pairs('points', points)
  normals = _pairs('normals', normals)
  n = len(normals)
  if not 1 <= n <= 16:
    raise ReformerError(f'normals has {n} rows: give 1 to 16 hyperplanes')
  rotations = normals.T[None, :, None]  # [heads, 2, rounds, n]
  codes = hash_vectors(points[None, None], rotations, [2] * n)[0, 0, 0]
  return CutPlane(points, normals, np.asarray(codes))


def binary(code, n_bits):
  """A code as its bits, the first hyperplane's first."""
  return f'{code:0{n_bits}b}'[::-1]


def plot_hyperplanes(cut):
  """Draws a CutPlane: the regions, their codes and the points.

  Args:
    cut: CutPlane.

  Returns:
    matplotlib's Figure.
  """
  points, normals, codes = cut
  n = len(normals)
  reach = 1.25 * max(1e-6, np.abs(points).max()) if len(points) else 1.0
  ticks = np.linspace(-reach, reach, _GRID, dtype=np.float32)
  grid = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
  of_grid = cut_plane(grid, normals).codes
  regions, index = np.unique(of_grid, return_inverse=True)
  # Neighbours differ in one bit, so that no two of them are of one shade.
  odd = [bin(code).count('1') % 2 for code in regions]
  shade = np.where(np.array(odd), 0.88, 0.97)[index].reshape(_GRID, _GRID)

  figure = new_figure(7.2, 5.6)
  axes = figure.subplots()
  axes.imshow(
    shade,
    cmap='gray',
    vmin=0,
    vmax=1,
    extent=(-reach, reach, -reach, reach),
    origin='lower',
    interpolation='nearest',
  )
  for i, (x, y) in enumerate(normals):
    along = np.array([-y, x]) / max(1e-12, np.hypot(x, y))
    far = 2 * reach * along
    axes.plot(*zip(-far, far, strict=True), color='0.35', linewidth=1.2)
    if n <= 6:
      _name_line(axes, i, along, (x, y), reach)
  colours = dict(zip(regions, colours_of(len(regions)), strict=True))
  axes.scatter(
    *points.T,
    color=[colours[code] for code in codes],
    s=28,
    edgecolor='white',
    linewidth=0.7,
    zorder=3,
  )
  _name_regions(axes, of_grid, grid, colours, n, reach)
  axes.set(
    xlim=(-reach, reach),
    ylim=(-reach, reach),
    aspect='equal',
    xlabel='$x_1$',
    ylabel='$x_2$',
    title=f'Hash codes by {n} random hyperplanes: bit $i$ is 1 where '
    '$x \\cdot r_i < 0$',
  )
  return figure


def _name_regions(axes, of_grid, grid, colours, n_bits, reach):
  """Each region's code, but where it would hide that of a larger one."""
  size = 12 if n_bits < 6 else 8
  width, height = (
    (0.0052 * n_bits + 0.008) * size * reach,
    0.0095 * size * reach,
  )
  placed = []
  shares = {code: (of_grid == code).sum() for code in colours}
  for code in sorted(shares, key=shares.get, reverse=True):
    middle = grid[of_grid == code].mean(0)
    # Beyond the points, but within the frame.
    x, y = middle * (0.9 * reach / max(1e-6, np.abs(middle).max()))
    most = 0.97 * reach - width / 2
    x = np.clip(x, -most, most)
    if any(abs(x - a) < width and abs(y - b) < height for a, b in placed):
      continue
    placed.append((x, y))
    box = dict(boxstyle='round,pad=0.25', edgecolor=colours[code])
    axes.text(
      x,
      y,
      binary(code, n_bits),
      ha='center',
      va='center',
      family='monospace',
      fontsize=size,
      weight='bold',
      bbox=dict(box, facecolor='white', linewidth=2),
      zorder=4,
    )


def _name_line(axes, i, along, normal, reach):
  """An arrow along r_i, from its line, to where its bit is 0."""
  start = along * (0.35, 0.65, 0.5)[i % 3] * reach
  step = np.asarray(normal) / max(1e-12, np.hypot(*normal)) * 0.16 * reach
  axes.annotate(
    '',
    start + step,
    start,
    arrowprops=dict(arrowstyle='->', color=COLOURS[1], linewidth=1.4),
  )
  axes.text(
    *(start + 1.35 * step),
    f'$r_{{{i + 1}}}$',
    color=COLOURS[1],
    ha='center',
    va='center',
    fontsize=10,
  )


def _pairs(name, x):
  x = np.asarray(x, np.float32)
  if x.ndim != 2 or x.shape[1] != 2:
    raise ReformerError(
      f'{name} has the shape {x.shape}: give one of (n, 2), points of a plane'
    )
  return x

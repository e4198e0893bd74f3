"""LSH attention on a real sequence, stage by stage (Figure 2 of the paper)."""

from typing import NamedTuple

import numpy as np

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.ops.keys import normalised_keys
from trax_reformer_ext.ops.sorting import sort_by_bucket
from trax_reformer_ext.visualize.attention import (
  draw_matrix,
  full_weights,
  lsh_weights,
  one_head,
)
from trax_reformer_ext.visualize.style import (
  bare_axes,
  colours_of,
  ink_on,
  new_figure,
)

# Tokens whose letters can be read.
LONGEST = 64
_GAP = 0.7  # between chunks, in tokens
# Weights from which on a line is drawn from a query to a key.
_LEAST = 0.02
# Rows from top to bottom: where they start, and how high they are.
_ROWS = {
  'queries = keys,\nat length 1': (0.0, 3.2),
  'LSH buckets': (4.0, 1.0),
  'sorted by bucket': (7.0, 1.0),
  'in chunks: keys': (9.2, 1.0),
  'queries': (12.6, 1.0),
}


class Stages(NamedTuple):
  """One head's way through one round of LSH attention.

  Attributes:
    keys: float32 [length, d_qk], the queries at length 1.
    buckets: int32 [length], by position.
    order: int32 [length], the position of the r-th token when sorted.
    weights: float32 [length, length], of queries to keys by position, of this
      round alone.
    full: float32 [length, length], the same of exact attention.
    chunk_len: int, tokens in a chunk of the sorted sequence.
    n_chunks_before: int, chunks before its own that a query looks at.
  """

  keys: np.ndarray
  buckets: np.ndarray
  order: np.ndarray
  weights: np.ndarray
  full: np.ndarray
  chunk_len: int
  n_chunks_before: int


def lsh_stages(hashed, head=0, hash_round=0, example=0):
  """The stages of one head and one round, from the layer's own values.

  Args:
    hashed: layers.lsh_attention.Hashed, as of LSHSelfAttention.hashed.
    head: int.
    hash_round: int.
    example: int, of the batch.

  Returns:
    Stages.

  Raises:
    ReformerError: a head, round or example that is not there, or too many
      tokens.
  """
  q, buckets, mask = one_head(hashed, head, example)
  n_rounds = buckets.shape[2]
  if not 0 <= hash_round < n_rounds:
    raise ReformerError(
      f'hash_round is {hash_round}: give an int from 0 to {n_rounds - 1}'
    )
  buckets = buckets[:, :, hash_round : hash_round + 1]
  order, _ = sort_by_bucket(buckets, hashed.n_buckets)
  return Stages(
    keys=np.asarray(normalised_keys(q)[0, 0], np.float32),
    buckets=np.asarray(buckets[0, 0, 0], np.int32),
    order=np.asarray(order[0, 0, 0]),
    weights=lsh_weights(hashed, q, buckets, mask),
    full=full_weights(q, mask, hashed.options['causal']),
    chunk_len=hashed.options['chunk_len'],
    n_chunks_before=hashed.options['n_chunks_before'],
  )


def plot_lsh_stages(stages, labels):
  """Draws Stages: the sequence in rows, and three matrices of weights.

  Args:
    stages: Stages.
    labels: list of str, a short one for each token.

  Returns:
    matplotlib's Figure.

  Raises:
    ReformerError: more than LONGEST tokens, or another number of labels.
  """
  n = len(stages.buckets)
  if n > LONGEST:
    raise ReformerError(
      f'the sequence has {n} tokens, of which {LONGEST} can be read in a '
      'picture: give a shorter one'
    )
  if len(labels) != n:
    raise ReformerError(
      f'labels has {len(labels)} entries for {n} tokens: give one for each'
    )
  figure = new_figure(8.2, 8.2)
  strips, matrices = figure.subfigures(2, 1, height_ratios=(5, 3.2))
  _Strips(strips.subplots(), stages, labels).draw()
  _draw_matrices(matrices, stages)
  return figure


class _Strips:
  """The sequence in rows of cells, with lines from one to the next."""

  def __init__(self, axes, stages, labels):
    self._axes, self._stages, self._labels = axes, stages, labels
    self._n = len(labels)
    used = np.unique(stages.buckets)
    colours = dict(zip(used, colours_of(len(used)), strict=True))
    self._colours = [colours[b] for b in stages.buckets]
    rank = np.argsort(stages.order)
    self._sorted = rank.astype(float)
    chunk = rank // stages.chunk_len
    shift = _GAP * (chunk - chunk.max() / 2)
    self._chunked = rank + shift
    self._size = 9 if self._n <= 40 else 7

  def draw(self):
    axes, n = self._axes, self._n
    bare_axes(axes)
    reach = max(0.0, self._chunked.max() - n + 1)
    axes.set(xlim=(-reach - 0.6, n + reach + 0.6), ylim=(13.8, -1.3))
    place = np.arange(n, dtype=float)
    self._draw_keys(place)
    self._cells('LSH buckets', place, self._stages.buckets)
    self._lines('LSH buckets', place, 'sorted by bucket', self._sorted)
    self._cells('sorted by bucket', self._sorted, self._labels)
    self._cells('in chunks: keys', self._chunked, self._labels)
    self._draw_attention()
    self._cells('queries', self._chunked, self._labels)
    self._name(-0.55, 'tokens')
    for name, (top, height) in _ROWS.items():
      self._name(top + height / 2, name)

  def _name(self, y, text):
    self._axes.annotate(
      text,
      (0, y),
      xycoords=('axes fraction', 'data'),
      ha='right',
      va='center',
      fontsize=9,
      annotation_clip=False,
    )

  def _draw_keys(self, place):
    """The real vectors, a column for each token, under the tokens."""
    top, height = _ROWS['queries = keys,\nat length 1']
    keys = self._stages.keys.T
    most = np.abs(keys).max()
    self._axes.imshow(
      keys,
      cmap='PuOr',
      vmin=-most,
      vmax=most,
      extent=(0, self._n, top + height, top),
      aspect='auto',
      interpolation='nearest',
    )
    for x, label in zip(place, self._labels, strict=True):
      self._text(x, -0.55, label, 'black')

  def _cells(self, row, place, texts):
    from matplotlib.patches import Rectangle

    top, height = _ROWS[row]
    for x, text, colour in zip(place, texts, self._colours, strict=True):
      self._axes.add_patch(
        Rectangle(
          (x, top), 1, height, facecolor=colour, edgecolor='white', linewidth=1
        )
      )
      self._text(x, top + height / 2, str(text), ink_on(colour))

  def _text(self, x, y, text, colour):
    self._axes.text(
      x + 0.5,
      y,
      text,
      ha='center',
      va='center',
      color=colour,
      fontsize=self._size,
      family='monospace',
      parse_math=False,
    )

  def _lines(self, above, of_above, below, of_below):
    start = sum(_ROWS[above])
    end = _ROWS[below][0]
    pairs = zip(of_above, of_below, self._colours, strict=True)
    for a, b, colour in pairs:
      self._axes.plot(
        [a + 0.5, b + 0.5], [start, end], color=colour, linewidth=1
      )

  def _draw_attention(self):
    """Lines from queries to the keys they attend to, by weight."""
    start, end = _ROWS['queries'][0], sum(_ROWS['in chunks: keys'])
    weights = self._stages.weights
    for i, j in zip(*np.nonzero(weights >= _LEAST), strict=True):
      weight = float(weights[i, j])
      self._axes.plot(
        [self._chunked[i] + 0.5, self._chunked[j] + 0.5],
        [start, end],
        color=self._colours[i],
        alpha=min(1.0, 0.15 + weight),
        linewidth=0.5 + 1.5 * weight,
      )


def _draw_matrices(figure, stages):
  order, n = stages.order, len(stages.order)
  in_order = lambda x: x[order][:, order]
  panels = figure.subplots(1, 3)
  titles = (
    'full attention, by position',
    'full, sorted by bucket',
    'this round of LSH, sorted',
  )
  matrices = stages.full, in_order(stages.full), in_order(stages.weights)
  for axes, title, matrix in zip(panels, titles, matrices, strict=True):
    image = draw_matrix(axes, matrix)
    axes.set_title(title, fontsize=9.5)
    axes.set_xlabel('key', fontsize=9)
    axes.tick_params(labelsize=8)
  panels[0].set_ylabel('query', fontsize=9)
  edges = np.flatnonzero(np.diff(stages.buckets[order])) + 1
  for start, end in _pairs([0, *edges, n]):
    _outline(panels[1], start, end, start)
  for start, end in _pairs([*range(0, n, stages.chunk_len), n]):
    before = start - stages.n_chunks_before * stages.chunk_len
    _outline(panels[2], start, end, max(0, before))
  bar = figure.colorbar(image, ax=panels, shrink=0.8, aspect=25, pad=0.01)
  bar.set_label('attention weight (white: none)', fontsize=9)
  bar.ax.tick_params(labelsize=8)


def _pairs(edges):
  return zip(edges[:-1], edges[1:], strict=True)


def _outline(axes, start, end, first_key):
  """A box around queries from start to end, and keys from first_key to end."""
  from matplotlib.patches import Rectangle

  place = first_key - 0.5, start - 0.5
  box = Rectangle(place, end - first_key, end - start, fill=False)
  box.set(edgecolor='#D55E00', linewidth=1)
  axes.add_patch(box)

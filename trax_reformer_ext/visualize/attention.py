"""Attention weights, full and by LSH, of one head on a real sequence."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.ops.full_attention import full_attention
from trax_reformer_ext.ops.lsh_attention import lsh_attention
from trax_reformer_ext.visualize.style import (
  COLOURS,
  QUANTITY,
  new_figure,
  open_axes,
)

# Tokens of which all pairs are still a picture, and fit in memory.
LONGEST = 2048


class Matrices(NamedTuple):
  """Attention of one head, exact and by LSH with rounds added.

  Attributes:
    full: float32 [length, length], weights of exact shared query-key
      attention; a row for each query.
    n_rounds: tuple of ints.
    by_lsh: list of float32 [length, length], weights with so many rounds.
    found: list of floats in [0, 1], the share of the weights of full, over
      all queries, whose pairs the rounds admit.
  """

  full: np.ndarray
  n_rounds: tuple
  by_lsh: list
  found: list


def attention_matrices(hashed, n_rounds=(1, 2, 4, 8), head=0, example=0):
  """Attention weights of a head, exact and by its first rounds of hashing.

  The weights are those that the layer applies: what ops.full_attention and
  ops.lsh_attention give for values that are the rows of the identity.

  Args:
    hashed: layers.lsh_attention.Hashed, as of LSHSelfAttention.hashed.
    n_rounds: ints, how many rounds, each at most those of hashed.
    head: int.
    example: int, of the batch.

  Returns:
    Matrices.

  Raises:
    ReformerError: a head, example or number of rounds that is not there, or
      more than LONGEST tokens.
  """
  q, buckets, mask = one_head(hashed, head, example)
  most = buckets.shape[2]
  for n in n_rounds:
    if not 1 <= n <= most:
      raise ReformerError(
        f'n_rounds is {tuple(n_rounds)}, but the layer hashes {most} times: '
        f'give ints from 1 to {most}, or a layer with more n_hashes'
      )
  full = full_weights(q, mask, hashed.options['causal'])
  by_lsh = [lsh_weights(hashed, q, buckets[:, :, :n], mask) for n in n_rounds]
  found = [float(full[x > 0].sum() / full.sum()) for x in by_lsh]
  return Matrices(full, tuple(n_rounds), by_lsh, found)


def one_head(hashed, head, example):
  """Queries [1, 1, length, d_qk], buckets and mask of one head and example.

  Raises:
    ReformerError: as attention_matrices.
  """
  batch, heads, length = hashed.q.shape[:3]
  for name, i, n in (('example', example, batch), ('head', head, heads)):
    if not 0 <= i < n:
      raise ReformerError(f'{name} is {i}: give an int from 0 to {n - 1}')
  if length > LONGEST:
    raise ReformerError(
      f'the sequence has {length:,} tokens: give at most {LONGEST:,}'
    )
  at = lambda x: x[example : example + 1, head : head + 1]
  mask = hashed.mask
  mask = None if mask is None else mask[example : example + 1]
  return at(hashed.q), at(hashed.buckets), mask


def full_weights(q, mask, causal):
  """Weights of exact shared query-key attention: float32 [length, length]."""
  values = _identity(q.shape[2])
  attend = jax.jit(full_attention, static_argnames='causal')
  return _matrix(attend(q, None, values, mask, causal=causal))


def lsh_weights(hashed, q, buckets, mask):
  """Weights of LSH attention: float32 [length, length]."""
  options = dict(n_buckets=hashed.n_buckets, **hashed.options)
  values = _identity(q.shape[2])
  attend = jax.jit(lsh_attention, static_argnames=tuple(options))
  return _matrix(attend(q, values, buckets, mask, **options))


def plot_attention_matrices(matrices):
  """Draws Matrices beside each other, and what share the rounds find.

  Args:
    matrices: Matrices.

  Returns:
    matplotlib's Figure.
  """
  full, n_rounds, by_lsh, found = matrices
  titles = ['full attention']
  for n, share in zip(n_rounds, found, strict=True):
    rounds = 'round' if n == 1 else 'rounds'
    titles.append(f'LSH, {n} {rounds}: finds {share:.0%}')
  n_columns = 3 if len(titles) > 3 else len(titles) + 1
  n_rows = -(-(len(titles) + 1) // n_columns)
  figure = new_figure(8.2, 0.5 + 2.75 * n_rows)
  panels = figure.subplots(n_rows, n_columns, squeeze=False).flat
  shown = []
  for i, (title, weights) in enumerate(
    zip(titles, [full, *by_lsh], strict=True)
  ):
    axes = panels[i]
    axes.set_title(title, fontsize=10)
    image = draw_matrix(axes, weights)
    axes.tick_params(labelsize=8)
    if i % n_columns == 0:
      axes.set_ylabel('query, position', fontsize=9)
    axes.set_xlabel('key, position', fontsize=9)
    shown.append(axes)
  bar = figure.colorbar(
    image, ax=shown, location='bottom', shrink=0.5, aspect=40, pad=0.02
  )
  bar.set_label(
    'attention weight, logarithmic (white: not looked at)', fontsize=9
  )
  bar.ax.tick_params(labelsize=8)
  _draw_found(panels[len(titles)], n_rounds, found)
  for axes in list(panels)[len(titles) + 1 :]:
    axes.remove()
  return figure


def draw_matrix(axes, weights):
  """Draws weights [queries, keys] on axes, those that are 0 white."""
  from matplotlib.colors import LogNorm

  # Even weights of all tokens are still seen.
  least = 10.0 ** np.floor(np.log10(0.5 / len(weights)))
  return axes.imshow(
    np.where(weights > 0, weights, np.nan),
    cmap=QUANTITY,
    norm=LogNorm(least, 1, clip=True),
    interpolation='nearest',
  )


def _draw_found(axes, n_rounds, found):
  axes.plot(n_rounds, [100 * x for x in found], 'o-', color=COLOURS[0])
  axes.set(xscale='log', ylim=(0, 104))
  axes.set_xticks(n_rounds, labels=[str(n) for n in n_rounds])
  axes.minorticks_off()
  axes.set_title("share of full's weight", fontsize=10)
  axes.set_xlabel('rounds of hashing', fontsize=9)
  axes.set_ylabel('found, %', fontsize=9)
  axes.tick_params(labelsize=8)
  axes.set_box_aspect(1)
  open_axes(axes)


def _identity(length):
  return jnp.eye(length, dtype=jnp.float32)[None, None]


def _matrix(out):
  return np.asarray(out[0, 0], np.float32)

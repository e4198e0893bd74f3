"""How the pictures look: sizes, colours, axes."""

import textwrap

import numpy as np

# Okabe and Ito's colours, which the colour-blind can tell apart; its yellow
# last, as it is faint on white.
COLOURS = (
  '#0072B2',
  '#D55E00',
  '#009E73',
  '#CC79A7',
  '#56B4E9',
  '#E69F00',
  '#000000',
  '#F0E442',
)
# Of one quantity: from light to dark, so that what is missing can be white.
QUANTITY = 'cividis_r'
_DPI = 120
_TITLE_WIDTH = 76  # letters


def new_figure(width=8.0, height=4.5):
  """A figure of inches, as wide as a README, that needs no screen.

  Args:
    width: float.
    height: float.
  """
  # Imported here, as it is slow; Figure needs no global state.
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(width, height), dpi=_DPI, layout='constrained')
  FigureCanvasAgg(figure)
  return figure


def open_axes(axes):
  """Takes away the upper and the right line of some axes; adds a grid."""
  for side in ('top', 'right'):
    axes.spines[side].set_visible(False)
  axes.grid(alpha=0.25)


def literal_legend(axes, **options):
  """A legend of labels that are no formulas, whatever is in them."""
  for text in axes.legend(fontsize=9, **options).get_texts():
    text.set_parse_math(False)


def literal_title(axes, title):
  """A title of words that are no formulas, in lines that fit a figure."""
  lines = textwrap.fill(title, _TITLE_WIDTH)
  axes.set_title(lines, fontsize=11, parse_math=False)


def bare_axes(axes):
  """Takes away all lines and ticks of some axes."""
  axes.set_xticks([])
  axes.set_yticks([])
  for spine in axes.spines.values():
    spine.set_visible(False)


def colours_of(n):
  """n colours, as distinct as that many can be.

  Args:
    n: int.

  Returns:
    List of n colours of matplotlib's; the eight of COLOURS where they
    suffice.
  """
  if n <= len(COLOURS):
    return list(COLOURS[:n])
  import matplotlib

  return list(matplotlib.colormaps['cividis'](np.linspace(0, 1, n)))


def ink_on(colour):
  """'black' or 'white', whichever can be read on a colour."""
  from matplotlib.colors import to_rgb

  red, green, blue = to_rgb(colour)
  return 'black' if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else 'white'

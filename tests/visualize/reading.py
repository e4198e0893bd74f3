"""What can be read in a figure."""

from matplotlib.text import Text


def texts_of(figure):
  """All texts of a figure that are seen, but those of ticks."""
  shown = (t for t in figure.findobj(Text) if t.get_visible())
  return [t.get_text() for t in shown if t.get_text()]


def legend_of(axes):
  """The entries of a legend."""
  return [t.get_text() for t in axes.get_legend().get_texts()]

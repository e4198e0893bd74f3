"""Pictures of what the layers do, of training and of measurements.

Functions of arrays give the data of a picture, plot_* draw it as a Figure of
matplotlib (animate_* as an Animation), and save_picture writes a PNG or GIF.
In a notebook a Figure is shown as the last line of a cell after `import
matplotlib.pyplot`, and an Animation by IPython.display.HTML(x.to_jshtml()).
"""

from trax_reformer_ext.visualize.angular import (
  Rotated,
  angular_lsh,
  animate_angular_lsh,
  plot_angular_lsh,
)
from trax_reformer_ext.visualize.attention import (
  Matrices,
  attention_matrices,
  plot_attention_matrices,
)
from trax_reformer_ext.visualize.growth import (
  plot_memory,
  plot_time,
  read_curves,
)
from trax_reformer_ext.visualize.hyperplanes import (
  CutPlane,
  cut_plane,
  plot_hyperplanes,
)
from trax_reformer_ext.visualize.image_grid import draw_image_grid
from trax_reformer_ext.visualize.learning_curve import (
  draw_learning_curve,
  plot_learning_curves,
)
from trax_reformer_ext.visualize.lsh_stages import (
  Stages,
  lsh_stages,
  plot_lsh_stages,
)
from trax_reformer_ext.visualize.reversibility import (
  plot_reversibility,
  reconstruction_errors,
)
from trax_reformer_ext.visualize.saving import save_picture

__all__ = [
  'CutPlane',
  'Matrices',
  'Rotated',
  'Stages',
  'angular_lsh',
  'animate_angular_lsh',
  'attention_matrices',
  'cut_plane',
  'draw_image_grid',
  'draw_learning_curve',
  'lsh_stages',
  'plot_angular_lsh',
  'plot_attention_matrices',
  'plot_hyperplanes',
  'plot_learning_curves',
  'plot_lsh_stages',
  'plot_memory',
  'plot_reversibility',
  'plot_time',
  'read_curves',
  'reconstruction_errors',
  'save_picture',
]

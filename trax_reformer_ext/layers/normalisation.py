"""Layer normalisation."""

from trax import layers as tl

from trax_reformer_ext.layers._common import check
from trax_reformer_ext.ops.layer_norm import layer_norm


class LayerNorm(tl.LayerNorm):
  """trax.layers.LayerNorm with its gradient by ops.layer_norm."""

  def __init__(self, center=True, epsilon=1e-6, activation_dtype='float32'):
    """Creates the layer.

    Args:
      center: bool, False for RMS normalisation.
      epsilon: float, added to the variance.
      activation_dtype: str, 'bfloat16' to round the output; statistics and
        gradients are float32 within.
    """
    super().__init__(center=center, epsilon=epsilon)
    self._rounds = activation_dtype == 'bfloat16'

  def forward(self, x):
    scale, bias = self.weights
    y = layer_norm(x, scale, bias, self._epsilon, self._center)
    return y.astype('bfloat16') if self._rounds else y


def check_activation_dtype(owner, dtype):
  """Refuses all but 'float32' and 'bfloat16'; owner has the parameter."""
  check(
    dtype in ('float32', 'bfloat16'),
    f"{owner}.activation_dtype is {dtype!r}: give 'float32' or 'bfloat16'",
  )

"""What an encoder-decoder computes once for a source, in mode 'predict'."""

from typing import Any, NamedTuple

from trax import layers as tl


class PerSource(NamedTuple):
  """Part of a layer's state that depends on an encoder's input alone.

  All beams of a sentence have the same.
  """

  state: Any


class OncePerSource(tl.Cache):
  """Runs a layer at the first call and returns its output at later ones too.

  The state holds the output, as PerSource.
  """

  def forward(self, inputs):
    known, state = self.state
    if not known:
      output, state = self.sublayer.pure_fn(
        inputs, self.weights[0], state, self.rng
      )
      known = PerSource(output)
      self.state = (known, state)
    return known.state

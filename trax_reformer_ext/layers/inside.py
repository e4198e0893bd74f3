"""What the layers inside a model are given."""

import jax
from trax import layers as tl
from trax.layers import combinators as cb

from trax_reformer_ext.layers._common import as_tuple
from trax_reformer_ext.layers.batching import MicroBatches
from trax_reformer_ext.layers.reversible import ReversibleHalfResidual


def inputs_of(kind, model, inputs):
  """Runs a model layer by layer and keeps the inputs of some layers.

  Args:
    kind: class of the layers wanted.
    model: initialised Trax layer in mode 'eval'; layers in series and the
      attention of reversible half-residuals are looked into.
    inputs: the model's.

  Returns:
    List of (layer, its inputs as a tuple), in the order of the forward pass.
  """
  found = []
  rng = jax.random.PRNGKey(0)  # which no layer heeds in mode 'eval'

  def run(layer, inputs):
    if isinstance(layer, kind):
      found.append((layer, as_tuple(inputs)))
    if isinstance(layer, (tl.Serial, MicroBatches)):
      stack = inputs
      for sublayer in layer.sublayers:
        inputs = cb.inputs_from_stack(stack, sublayer.n_in)
        outputs = run(sublayer, inputs)
        stack = cb.outputs_onto_stack(outputs, stack, sublayer.n_in)
      return stack
    if isinstance(layer, ReversibleHalfResidual):
      attention, attended = layer.attended(as_tuple(inputs), rng)
      if isinstance(attention, kind):
        found.append((attention, attended))
    return layer.pure_fn(inputs, layer.weights, layer.state, rng)[0]

  @jax.jit  # which leaves out what none of them needs
  def run_all(inputs):
    run(model, inputs)
    return [inputs for _, inputs in found]

  found_inputs = run_all(inputs)
  layers = [layer for layer, _ in found]
  return list(zip(layers, found_inputs, strict=True))

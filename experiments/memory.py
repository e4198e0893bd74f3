"""Prints XLA's memory of the loss gradient of a run: compiled, never run.

python experiments/memory.py RUN_DIRECTORY
"""

import sys

import jax
import numpy as np

import trax_reformer_ext as ext  # before Trax, whose import it fixes

# isort: split
from trax import layers as tl

# The report is imported for gin, as configs bind its parameters.
from trax_reformer_ext.training import configs, report, run_dir  # noqa: F401
from trax_reformer_ext.training.configs import configured
from trax_reformer_ext.training.evaluate import configured_inputs


def main():
  (folder,) = sys.argv[1:]
  configs.parse([run_dir.config_path(folder)], [])
  batch = next(configured_inputs().train_batches())
  model = tl.Serial(
    configured('model')(mode='train'), ext.ChunkedCrossEntropyLoss()
  )
  batch = tuple(jax.ShapeDtypeStruct(np.shape(x), x.dtype) for x in batch)
  weights, state = jax.eval_shape(lambda: model.init(batch))
  rng = jax.random.PRNGKey(0)
  loss = lambda weights, state, batch: model.pure_fn(batch, weights, state, rng)
  gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
  memory = gradient.lower(weights, state, batch).compile().memory_analysis()
  print(f'temporary memory: {memory.temp_size_in_bytes / 2**20:.2f} MiB')


if __name__ == '__main__':
  main()

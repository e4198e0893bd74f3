"""Images completed by the model of a run."""

import numpy as np
import tqdm

from trax_reformer_ext.data.pixels import SIZE
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.training import run_dir
from trax_reformer_ext.training.continuation import open_generator


def complete_image(
  folder, image=None, keep_rows=32, n_samples=4, seed=0, **sampling
):
  """Completes an image with the last checkpoint of a run on images.

  Args:
    folder: str, output directory of a run, as gin is configured now.
    image: uint8 [64, 64, 3], or None to generate whole images.
    keep_rows: int in [0, 64], rows of the image to go on from.
    n_samples: int, completions.
    seed: int.
    **sampling: temperature, top_k and top_p, as of decoding.Generator.

  Returns:
    uint8 [n_samples, 64, 64, 3].

  Raises:
    ReformerError: no run there, weights of another model, keep_rows or
      n_samples out of range, or as Generator.
  """
  if not 0 <= keep_rows <= SIZE:
    raise ReformerError(
      f'keep_rows is {keep_rows}: give an int from 0 to {SIZE}'
    )
  if n_samples < 1:
    raise ReformerError(f'n_samples is {n_samples}: give an int of at least 1')
  stored = run_dir.read_weights(folder)
  n_values = SIZE * SIZE * 3
  kept = np.zeros(0, np.uint8)
  if image is not None:
    kept = image[:keep_rows].reshape(-1)
  # Every value is a colour: 0 and 1 too.
  generator = open_generator(
    stored, folder, n_values, excluded=(), piece=64, **sampling
  )
  missing = n_values - len(kept)
  prompts = [kept.astype(np.int32)] * n_samples
  result = [np.stack(prompts)]
  with tqdm.tqdm(
    total=missing, desc='values', leave=False, disable=None
  ) as bar:
    for piece in generator.generate(prompts, missing, seed) if missing else ():
      result.append(piece)
      bar.update(piece.shape[1])
  values = np.concatenate(result, axis=1).clip(0, 255).astype(np.uint8)
  return values.reshape(n_samples, SIZE, SIZE, 3)

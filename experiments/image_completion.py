"""Completes the lower halves of crops of a photo that matplotlib ships.

A row of the picture is a crop of 64x64: the original, the half that the model
sees, and its completions. No image of the training data is shown.

  trax-reformer prepare imagenet64 --data_dir=data --manual_dir=FOLDER
  trax-reformer train --config_file=reformer_imagenet64_small --data_dir=data \\
    --output_dir=runs/imagenet64_small
  python experiments/image_completion.py --output_dir=runs/imagenet64_small
"""

import argparse
import pathlib

import numpy as np
from matplotlib import cbook
from PIL import Image

import trax_reformer_ext  # noqa: F401  before Trax, whose import it fixes
from trax_reformer_ext.data.pixels import SIZE, to_pixels
from trax_reformer_ext.training import configs, run_dir
from trax_reformer_ext.training.completion import complete_image
from trax_reformer_ext.visualize.image_grid import draw_image_grid

PICTURE = pathlib.Path(__file__).with_suffix('.png')
KEEP_ROWS = SIZE // 2
# (left, top, side) in the photo of 512 x 600 pixels.
CROPS = (0, 0, 512), (128, 40, 256), (0, 300, 256), (256, 300, 256)


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--output_dir', required=True, help='of the run')
  parser.add_argument('--n_samples', type=int, default=4, help='(default: 4)')
  parser.add_argument(
    '--temperature', type=float, default=1.0, help='(default: 1)'
  )
  parser.add_argument(
    '--top_p', type=float, default=0.95, help='(default: 0.95)'
  )
  parser.add_argument('--seed', type=int, default=0, help='(default: 0)')
  parser.add_argument(
    '--picture', default=str(PICTURE), help='(default: beside this file)'
  )
  arguments = parser.parse_args()
  configs.parse([run_dir.config_path(arguments.output_dir)], [])
  rows = []
  for original in crops():
    kept = np.full_like(original, 128)
    kept[:KEEP_ROWS] = original[:KEEP_ROWS]
    samples = complete_image(
      arguments.output_dir,
      original,
      KEEP_ROWS,
      arguments.n_samples,
      seed=arguments.seed,
      temperature=arguments.temperature,
      top_p=arguments.top_p,
    )
    rows.append([original, kept, *samples])
  draw_image_grid(arguments.picture, rows)
  print(f'Picture: {arguments.picture}')


def crops():
  """Squares of Grace Hopper's portrait, uint8 [64, 64, 3]."""
  with cbook.get_sample_data('grace_hopper.jpg') as f:
    photo = np.asarray(Image.open(f).convert('RGB'))
  for left, top, side in CROPS:
    yield to_pixels(photo[top : top + side, left : left + side])


if __name__ == '__main__':
  main()

"""Times Trax's LSH layer on a GPU, one JSON object a line for each row.

In the shape of layers.py, float32 (which Trax's layer computes in). Needs trax
and gin-config, and no TensorFlow.

  python benchmarks/gpu_rows/trax_layer.py [--quick]
"""

import os
import pathlib
import statistics
import sys
import time

import rows

os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')


def main():
  arguments = rows.parser(__doc__, seconds=40).parse_args()
  ends = time.monotonic() + arguments.seconds
  from models import import_package

  import_package()
  peers = pathlib.Path(__file__).resolve().parents[1] / 'peers'
  sys.path.insert(0, str(peers))
  import jax
  from jax_attention import make_program

  for length in (512,) if arguments.quick else (4096, 16384, 1024, 8192):
    for backward in (True, False):
      if time.monotonic() > ends:
        return
      passes = 'forward+backward' if backward else 'forward'
      row = dict(name=f'Trax LSH, {length:,}, float32, 4 rounds, {passes}')
      try:
        run = make_program('trax', length, 1, 4, backward)
        jax.block_until_ready(run())
        times = []
        for _ in range(1 if arguments.quick else 7):
          started = time.perf_counter()
          jax.block_until_ready(run())
          times.append(time.perf_counter() - started)
        row['seconds'] = statistics.median(times)
      except Exception as e:
        row['error'] = rows.said_by(e)
      rows.tell(row)


if __name__ == '__main__':
  main()

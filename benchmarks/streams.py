"""Tokens a second of each stream alone, and that memory does not grow.

Each line is a process of its own: it reads training batches for some seconds,
as train.inputs gives them, and reports its own peak memory, most of which is
the import of Trax. Prepared data is written anew, to a temporary folder.

  REFORMER_DATA=../shared/data python benchmarks/streams.py  # ~1 minute
  REFORMER_DATA=../shared/data python benchmarks/streams.py --quick

Writes streams.json and streams.png in --output_dir.
"""

import argparse
import contextlib
import io
import lzma
import multiprocessing
import os
import pathlib
import platform
import resource
import tempfile
import time

import numpy as np
import results

_ENWIK8 = 'enwik8_first_4000000_bytes.xz'
_IMAGES = 'imagenet64_sample_900.npz'


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--seconds', type=float, default=3, help='of each stream (default: 3)'
  )
  parser.add_argument('--output_dir', default='.', help='for the results')
  parser.add_argument(
    '--quick', action='store_true', help='a fifth of a second of each'
  )
  arguments = parser.parse_args()
  if arguments.quick:
    arguments.seconds = 0.2
  folder = os.environ.get('REFORMER_DATA')
  if not folder:
    parser.error('REFORMER_DATA is not set: give the folder of the test data')
  with tempfile.TemporaryDirectory() as work:
    streams = make_streams(pathlib.Path(folder), pathlib.Path(work))
    print(f'Python {platform.python_version()}, {os.cpu_count()} cores')
    print(f'{"":47}  {"tokens/s":>13}  {"peak":>9}')
    found = {}
    for name, inputs, options in streams:
      speed, memory = in_process(measure, inputs, options, arguments.seconds)
      found[name] = {'tokens a second': speed, 'peak MiB': memory}
      print(f'{name:47}  {speed:13,.0f}  {memory:5.0f} MiB', flush=True)
  speeds = {n: {'speed': f['tokens a second'] / 1e6} for n, f in found.items()}
  figure = results.bars(
    speeds, 'million tokens a second', 'Streams, each alone', log=True
  )
  results.save(arguments.output_dir, 'streams', found, ('streams', figure))


def make_streams(source, work):
  """Prepares the data; returns a list of (name, inputs, arguments)."""
  text = lzma.decompress((source / _ENWIK8).read_bytes())
  with np.load(source / _IMAGES) as archive:
    images = archive['images']
  streams = [
    (
      'python_stdlib, 8 x 256',
      'text_inputs',
      dict(dataset_name='python_stdlib', length=256),
    ),
    (
      'raw enwik8, 1 x 65,536',
      'text_inputs',
      dict(
        dataset_name='enwik8',
        data_dir=str(source),
        length=65536,
        batch_size=1,
      ),
    ),
  ]
  for times in (1, 16):
    data_dir = str(work / f'enwik8_{times}')
    path = work / f'source_{times}' / 'enwik8'
    path.parent.mkdir()
    path.write_bytes(text * times)
    in_process(prepare, 'enwik8', data_dir, str(path.parent))
    for length, batch_size in ((65536, 1), (512, 8)):
      streams.append(
        (
          f'prepared enwik8, {4 * times} MB, {batch_size} x {length:,}',
          'text_inputs',
          dict(
            dataset_name='enwik8',
            data_dir=data_dir,
            length=length,
            batch_size=batch_size,
          ),
        )
      )
  for times in (1, 4):
    data_dir = str(work / f'imagenet64_{times}')
    manual_dir = work / f'images_{times}'
    manual_dir.mkdir()
    np.savez(
      manual_dir / 'imagenet64.npz', images=np.tile(images, (times, 1, 1, 1))
    )
    in_process(prepare, 'imagenet64', data_dir, str(manual_dir))
    streams.append(
      (
        f'prepared images, {900 * times}, 8 x 12,288',
        'image_inputs',
        dict(data_dir=data_dir),
      )
    )
  for n_symbols in (127, 16_383):
    streams.append(
      (
        f'duplication, {n_symbols:,} symbols, 8 x 1,024',
        'duplication_inputs',
        dict(n_symbols=n_symbols),
      )
    )
  return streams


def in_process(f, *arguments):
  """What a function returns, called in a new process."""
  with multiprocessing.get_context('spawn').Pool(1) as pool:
    return pool.apply(f, arguments)


def prepare(name, data_dir, manual_dir):
  from trax_reformer_ext import cli

  with contextlib.redirect_stdout(io.StringIO()):
    code = cli.main(
      ['prepare', name, f'--data_dir={data_dir}', f'--manual_dir={manual_dir}']
    )
  if code:
    raise SystemExit(code)


def measure(inputs, options, seconds):
  """(tokens a second, peak memory in MiB) of a stream."""
  import trax_reformer_ext

  with contextlib.redirect_stdout(io.StringIO()):
    inputs = getattr(trax_reformer_ext, inputs)(**options)
  stream = inputs.train_stream(1)
  next(stream)
  n_tokens, start = 0, time.perf_counter()
  while time.perf_counter() < start + seconds:
    n_tokens += next(stream)[0].size
  speed = n_tokens / (time.perf_counter() - start)
  stream.close()
  return speed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == '__main__':
  main()

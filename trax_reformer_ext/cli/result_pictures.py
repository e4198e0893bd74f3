"""Pictures of results in files, as trax-reformer plot draws them."""

import json
import os

from trax_reformer_ext import visualize
from trax_reformer_ext.cli.lines import read_bytes
from trax_reformer_ext.cli.picture import Picture
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.training.curves import curves_of_run


def _add_results(parser):
  parser.add_argument(
    'results', metavar='RESULTS', help='JSON file that a benchmark has written'
  )
  parser.add_argument(
    '--title', metavar='TEXT', help='what was measured, and where'
  )


def _growth(draw):
  """The draw function of a picture of measurements."""

  def drawn(arguments):
    name = f'RESULTS is {arguments.results!r}'
    content = read_bytes(arguments.results, 'RESULTS', 'a JSON file')
    try:
      measured = json.loads(content)
    except (ValueError, RecursionError) as e:  # UnicodeDecodeError too
      raise ReformerError(
        f'{name}, which is no JSON ({e}): give the file that a benchmark writes'
      ) from e
    curves = visualize.read_curves(measured, name)
    return draw(curves, arguments.title)

  return drawn


def _add_curves(parser):
  parser.add_argument(
    'runs',
    nargs='+',
    metavar='RUN',
    help='directory of a run of trax-reformer train',
  )


def _curves(arguments):
  runs, folders = {}, set()
  for run in arguments.runs:
    folder = os.path.realpath(os.path.expanduser(run))
    if folder in folders:
      raise ReformerError(
        f'RUN is {run!r}, which is there twice: leave one out'
      )
    folders.add(folder)
    name = os.path.basename(folder)
    runs[run if name in runs else name] = curves_of_run(
      folder, f'RUN is {run!r}'
    )
  return visualize.plot_learning_curves(runs)


PICTURES_OF_RESULTS = {
  'memory': Picture(
    "memory by depth, of a benchmark's results",
    """\
Draws memory by depth, as a benchmark has measured it.

examples:
  python benchmarks/compare_with_trax.py --only=depth --output_dir=out
  trax-reformer plot memory out/memory_by_depth.json
""",
    _add_results,
    _growth(visualize.plot_memory),
  ),
  'time': Picture(
    "time by length, of a benchmark's results",
    """\
Draws time per token by length, as a benchmark has measured it.

examples:
  python benchmarks/attention_peers.py --part=length --output_dir=out
  trax-reformer plot time out/attention_peers.json --title='One layer, 2 cores'
""",
    _add_results,
    _growth(visualize.plot_time),
  ),
  'curves': Picture(
    'learning curves of runs',
    """\
Draws the learning curves of one run or several, from the history in their last
checkpoints.

examples:
  trax-reformer plot curves runs/quickstart
  trax-reformer plot curves runs/lsh_1 runs/lsh_4 --output_file=rounds.png
""",
    _add_curves,
    _curves,
  ),
}

"""Figure 5, left: 2 to 20 layers in the same memory for activations."""

from report import curves_plot, minutes, table
from runs import Run, read

DEPTHS = (2, 4, 8, 12, 20)
_SHORT = (
  'train.steps = 300',
  'multifactor.steps_per_cycle = 300',
  'train.eval_frequency = 50',
)
RUNS = [
  Run(
    f'depth/{n}',
    'long_text',
    (f'trax_reformer_ext.ReformerLM.n_layers = {n}', *_SHORT),
    {'all': ['--split=test']},
    memory=True,
  )
  for n in DEPTHS
]


def report(results, pictures):
  rows, curves = [], {}
  for n, run in zip(DEPTHS, RUNS, strict=True):
    found = read(run, results)
    rows.append(
      [
        str(n),
        f'{found["temporary memory, mib"]:.1f} MiB',
        f'{found["all: test, bits"]:.3f}',
        minutes([found]),
      ]
    )
    curves[f'{n} layers'] = [found['held-out bits/dim']]
  print(table(['layers', 'memory', 'test, bits/byte', 'training'], rows))
  curves_plot(pictures / 'depth.png', curves, 'held-out bits per byte')

"""Figure 3: reversible layers, and shared queries and keys, beside ordinary."""

from report import curves_plot, mean_and_spread, minutes, table
from runs import Run, read, with_seeds

_LM = 'trax_reformer_ext.ReformerLM'
_TEST = {'all': ['--split=test']}
VARIANTS = {
  'reversible': (),
  'ordinary residuals': (f'{_LM}.reversible = False',),
  'reversible, shared queries and keys': (
    'trax_reformer_ext.SelfAttention.share_qk = True',
  ),
}
_RUNS = {
  name: with_seeds(
    Run(
      f'short_text/{name.replace(",", "").replace(" ", "_")}',
      'short_text',
      bindings,
      _TEST,
      memory=True,
    )
  )
  for name, bindings in VARIANTS.items()
}
RUNS = sum(_RUNS.values(), [])


def report(results, pictures):
  rows, curves = [], {}
  for name, runs in _RUNS.items():
    found = [read(run, results) for run in runs]
    rows.append(
      [
        name,
        mean_and_spread([f['all: test, bits'] for f in found]),
        f'{found[0]["temporary memory, mib"]:.1f} MiB',
        minutes(found),
      ]
    )
    curves[name] = [f['held-out bits/dim'] for f in found]
  print(table(['layers', 'test, bits/byte', 'memory', 'training'], rows))
  curves_plot(pictures / 'short_text.png', curves, 'held-out bits per byte')

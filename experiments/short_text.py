"""Figure 3: reversible layers, and shared queries and keys, beside ordinary."""

from report import compare
from runs import Run, with_seeds

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
  path = pictures / 'short_text.png'
  compare(_RUNS, results, ('layers', 'bits/byte'), path, memory=True)

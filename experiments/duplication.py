"""Table 2: copying, by rounds of hashing in training and in evaluation."""

from report import line_plot, table
from runs import Run, read

_LSH = 'trax_reformer_ext.LSHSelfAttention'
_TYPE = 'trax_reformer_ext.ReformerLM.attention_type'
_FULL = (
  f'{_TYPE} = @trax_reformer_ext.SelfAttention',
  'trax_reformer_ext.SelfAttention.share_qk = True',
)
_SEEDS = 3  # of the hash rotations in evaluation
EVALUATED = ('full', 'LSH-8', 'LSH-4', 'LSH-2', 'LSH-1')
TRAINED = ('full', 'LSH-4', 'LSH-2', 'LSH-1')


def _attention(kind):
  """Gin bindings of a kind of attention."""
  if kind == 'full':
    return _FULL
  return f'{_TYPE} = @{_LSH}', f'{_LSH}.n_hashes = {kind[4:]}'


def _evaluation(kind):
  seeds = [] if kind == 'full' else [f'--hash_seeds={_SEEDS}']
  bindings = [f'--config={binding}' for binding in _attention(kind)]
  return ['--split=test', *seeds, *bindings]


RUNS = [
  Run(
    f'duplication/{kind.lower()}',
    'duplication',
    _attention(kind),
    {evaluated: _evaluation(evaluated) for evaluated in EVALUATED},
  )
  for kind in TRAINED
]


def accuracies(results):
  """dict from (trained, evaluated) to accuracies, one a seed."""
  found = {}
  for run, trained in zip(RUNS, TRAINED, strict=True):
    figures = read(run, results)
    for evaluated in EVALUATED:
      found[trained, evaluated] = [
        value
        for what, value in figures.items()
        if what.startswith(f'{evaluated}: ') and what.endswith(', accuracy')
      ]
  return found


def report(results, pictures):
  found = accuracies(results)
  mean = {key: sum(a) / len(a) for key, a in found.items()}
  rows = [
    [trained, *(f'{mean[trained, e]:.2%}' for e in EVALUATED)]
    for trained in TRAINED
  ]
  print(table(['trained with', *EVALUATED], rows))
  line_plot(
    pictures / 'duplication.png',
    {
      f'trained with {t}': [
        (i, 100 * mean[t, e]) for i, e in enumerate(reversed(EVALUATED))
      ]
      for t in TRAINED
    },
    xlabel='evaluated with',
    ylabel='accuracy, %',
    xticks=list(reversed(EVALUATED)),
  )

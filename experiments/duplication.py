"""Table 2: copying, by rounds of hashing in training and in evaluation."""

import statistics

from report import line_plot, mean_and_spread, minutes, table
from runs import Run, read, with_seeds

_LSH = 'trax_reformer_ext.LSHSelfAttention'
_TYPE = 'trax_reformer_ext.ReformerLM.attention_type'
_FULL = (
  f'{_TYPE} = @trax_reformer_ext.SelfAttention',
  'trax_reformer_ext.SelfAttention.share_qk = True',
)
_HASH_SEEDS = 3  # in evaluation
EVALUATED = ('full', 'LSH-8', 'LSH-4', 'LSH-2', 'LSH-1')
TRAINED = ('full', 'LSH-4', 'LSH-2', 'LSH-1')


def _attention(kind):
  """Gin bindings of a kind of attention."""
  if kind == 'full':
    return _FULL
  return f'{_TYPE} = @{_LSH}', f'{_LSH}.n_hashes = {kind[4:]}'


def _evaluation(kind):
  seeds = [] if kind == 'full' else [f'--hash_seeds={_HASH_SEEDS}']
  bindings = [f'--config={binding}' for binding in _attention(kind)]
  return ['--split=test', *seeds, *bindings]


_BY_KIND = {
  kind: with_seeds(
    Run(
      f'duplication/{kind.lower()}',
      'duplication',
      _attention(kind),
      {evaluated: _evaluation(evaluated) for evaluated in EVALUATED},
    )
  )
  for kind in TRAINED
}
RUNS = [run for runs in _BY_KIND.values() for run in runs]


def report(results, pictures):
  found = {
    trained: [read(run, results) for run in runs]
    for trained, runs in _BY_KIND.items()
  }
  accuracy = {
    (trained, evaluated): [_accuracy(f, evaluated) for f in figures]
    for trained, figures in found.items()
    for evaluated in EVALUATED
  }
  rows = [
    [
      trained,
      *(mean_and_spread(accuracy[trained, e], 1) for e in EVALUATED),
      minutes(figures),
    ]
    for trained, figures in found.items()
  ]
  print(table(['accuracy, %, trained with', *EVALUATED, 'training'], rows))
  line_plot(
    pictures / 'duplication.png',
    {
      f'trained with {t}': [
        (i, statistics.mean(accuracy[t, e]))
        for i, e in enumerate(reversed(EVALUATED))
      ]
      for t in TRAINED
    },
    xlabel='evaluated with',
    ylabel='accuracy, %',
    xticks=list(reversed(EVALUATED)),
  )


def _accuracy(figures, evaluated):
  """The accuracy of a training run in %, the mean of the hash seeds."""
  return 100 * statistics.mean(
    value
    for what, value in figures.items()
    if what.startswith(f'{evaluated}: ') and what.endswith(', accuracy')
  )

"""Checks of arguments that several attention layers share."""

from trax_reformer_ext.layers._common import check


def check_chunks(kind, chunk_len, n_chunks_before, n_chunks_after):
  """Refuses what can't be a look over chunks, by name."""
  check(
    isinstance(chunk_len, int) and chunk_len >= 1,
    f'{kind}.chunk_len is {chunk_len!r}: give an int of at least 1',
  )
  for name, value in (
    ('n_chunks_before', n_chunks_before),
    ('n_chunks_after', n_chunks_after),
  ):
    check(
      isinstance(value, int) and value >= 0,
      f'{kind}.{name} is {value!r}: give an int of at least 0',
    )


def check_predict(kind, mode, causal, masked, predict_mem_len):
  """Refuses what can't go token by token in mode 'predict', by name."""
  if mode != 'predict':
    return
  check(
    causal and not masked,
    f"{kind}.causal is {causal} and masked is {masked} in mode 'predict': only "
    "causal attention without a mask goes token by token; use mode 'eval'",
  )
  check(
    isinstance(predict_mem_len, int) and predict_mem_len >= 1,
    f"{kind}.predict_mem_len is {predict_mem_len!r} in mode 'predict': give "
    'the longest sequence, an int of at least 1',
  )


def cache_size(q, predict_mem_len):
  """Returns predict_mem_len, after a check that the prompt q fits."""
  check(
    q.shape[2] <= predict_mem_len,
    f'predict_mem_len is {predict_mem_len}, but the prompt has {q.shape[2]} '
    'positions: raise it or shorten the prompt',
  )
  return predict_mem_len

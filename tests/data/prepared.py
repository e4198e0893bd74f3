"""What trax-reformer prepare has written."""

import numpy as np

from trax_reformer_ext.data.records import open_records

SPLITS = ('train', 'validation', 'test')


def all_records(name, data_dir, **config):
  """Ids of all splits, without padding."""
  parts = []
  for split in SPLITS:
    records = open_records(name, data_dir, split, **config)
    ids = np.concatenate([records[i] for i in range(len(records))])
    assert not ids[records.n_tokens :].any()
    parts.append(ids[: records.n_tokens])
  return np.concatenate(parts)


def as_bytes(ids):
  return (ids - 2).astype(np.uint8).tobytes()


def complete(data_dir):
  """All that a later run could take for complete."""
  return sorted(data_dir.glob('*/*/[0-9]*'))


def assert_mistake(result, message, data_dir):
  code, _, err = result
  assert code == 1
  assert err.startswith('trax-reformer: error: ')
  assert message in err
  assert len(err.splitlines()) == 1
  assert complete(data_dir) == []
  assert list(data_dir.glob('*/*/incomplete*')) == []

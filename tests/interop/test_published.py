"""The published configurations, built at full size by transformers."""

import numpy as np
import pytest

from tests.interop.of_transformers import (
  assert_same_logits,
  torch,
  transformers,
)
from tests.interop.published import PUBLISHED
from trax_reformer_ext.training.conversion import convert


@pytest.mark.slow
@pytest.mark.parametrize('name', PUBLISHED)
def test_published_configurations_at_full_size(name, tmp_path):
  config = transformers.ReformerConfig.from_dict(PUBLISHED[name])
  torch.manual_seed(0)
  model = transformers.ReformerModelWithLMHead(config).eval()
  n_weights = sum(x.numel() for x in model.parameters())
  model.save_pretrained(tmp_path / 'theirs')
  description, _ = convert(
    str(tmp_path / 'theirs'), str(tmp_path / 'run'), 'run'
  )
  found = sum(x.size for x in description.weights.values())
  has_two = model.lm_head.decoder.bias is not None
  assert found == n_weights - has_two * config.vocab_size
  assert found > (100e6 if name == 'reformer-enwik8' else 2e6)
  rng = np.random.default_rng(0)
  ids = rng.integers(2, config.vocab_size, (1, 512))
  assert_same_logits(
    tmp_path / 'run',
    model.double(),
    ids,
    np.ones_like(ids),
    largest_at_least=0.01,
  )

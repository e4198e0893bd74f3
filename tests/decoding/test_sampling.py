import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trax_reformer_ext.decoding.sampling import check_sampling, draw
from trax_reformer_ext.errors import ReformerError

LOGITS = jnp.log(jnp.asarray([0.05, 0.4, 0.0, 0.25, 0.3]))


def share(n=4000, **options):
  """How often each token is drawn."""
  keys = jax.random.split(jax.random.PRNGKey(0), n)
  tokens = draw(keys, jnp.broadcast_to(LOGITS, (n, 5)), **options)
  counts = collections.Counter(np.asarray(tokens).tolist())
  return np.array([counts[i] / n for i in range(5)])


@pytest.mark.parametrize(
  'options,expected',
  [
    (dict(), [0.05, 0.4, 0, 0.25, 0.3]),
    (dict(temperature=0), [0, 1, 0, 0, 0]),
    (dict(temperature=0.5), np.square([0.05, 0.4, 0, 0.25, 0.3]) / 0.315),
    (dict(top_k=2), [0, 4 / 7, 0, 0, 3 / 7]),
    (dict(top_k=9), [0.05, 0.4, 0, 0.25, 0.3]),
    (dict(top_p=0.5), [0, 4 / 7, 0, 0, 3 / 7]),
    (dict(top_p=0.71), [0, 0.4 / 0.95, 0, 0.25 / 0.95, 0.3 / 0.95]),
    (dict(top_p=1e-6), [0, 1, 0, 0, 0]),
    (dict(top_k=3, top_p=0.4), [0, 1, 0, 0, 0]),
  ],
)
def test_draws_by_probability(options, expected):
  np.testing.assert_allclose(share(**options), expected, atol=0.03)


def test_a_row_depends_on_its_own_key():
  keys = jax.random.split(jax.random.PRNGKey(1), 8)
  logits = jax.random.normal(jax.random.PRNGKey(2), (8, 50))
  together = draw(keys, logits)
  for i in range(8):
    assert draw(keys[i : i + 1], logits[i : i + 1])[0] == together[i]


@pytest.mark.parametrize(
  'options,message',
  [
    (dict(temperature=-0.1), 'temperature is -0.1'),
    (dict(temperature=float('nan')), 'temperature is nan'),
    (dict(top_k=-1), 'top_k is -1'),
    (dict(top_p=0.0), 'top_p is 0.0'),
    (dict(top_p=1.5), 'top_p is 1.5'),
  ],
)
def test_refusals_name_the_parameter_and_its_value(options, message):
  with pytest.raises(ReformerError, match=message):
    check_sampling(**dict(temperature=1.0, top_k=0, top_p=1.0) | options)

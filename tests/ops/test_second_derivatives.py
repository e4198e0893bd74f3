"""Second derivatives of attention within chunks, for given buckets."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trax_reformer_ext.ops.local_attention import local_attention
from trax_reformer_ext.ops.lsh_attention import lsh_attention

_LENGTH = 30
_KINDS = {
  'lsh': dict(n_buckets=4, chunk_len=8, causal=True),
  'strictly causal': dict(n_buckets=4, chunk_len=8, strictly_causal=True),
  'local': dict(chunk_len=8, n_chunks_before=1, causal=True),
}


@pytest.mark.parametrize('implementation', ['xla', 'interpreted'])
@pytest.mark.parametrize('kind', _KINDS)
def test_equal_differences_of_the_gradient(kind, implementation):
  """Some rows see nothing: the derivatives must be finite there, too."""
  rng = np.random.default_rng(0)
  x, direction = (
    jnp.asarray(rng.normal(size=(1, 2, _LENGTH, 8)), jnp.float32)
    for _ in range(2)
  )
  mask = jnp.arange(_LENGTH)[None] % 8 > 1
  buckets = jnp.asarray(rng.integers(0, 4, (1, 2, 2, _LENGTH)), jnp.int32)
  options = dict(_KINDS[kind], mask=mask, implementation=implementation)
  if kind == 'local':
    attend = lambda x: local_attention(x, None, jnp.cos(x), **options)
  else:
    attend = lambda x: lsh_attention(x, jnp.cos(x), buckets, **options)
  gradient = jax.jit(jax.grad(lambda x: jnp.sum(attend(x) ** 2)))
  along = functools.partial(jnp.vdot, direction)
  second = jax.jit(jax.grad(lambda x: along(gradient(x))))(x)
  step = 1e-2 * direction
  differences = (gradient(x + step) - gradient(x - step)) / 2e-2
  assert np.abs(differences).max() > 1
  np.testing.assert_allclose(second, differences, rtol=0.02, atol=0.02)

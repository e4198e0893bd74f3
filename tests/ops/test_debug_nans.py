"""Attention runs under JAX_DEBUG_NANS.

JAX_DEBUG_NANS raises at the first operation whose result is NaN, even if the
final result is finite. Users who debug their own code with it need ours clean.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trax_reformer_ext.ops.full_attention import full_attention
from trax_reformer_ext.ops.local_attention import local_attention
from trax_reformer_ext.ops.lsh_attention import lsh_attention

_LENGTH = 12
_KINDS = {
  'lsh': lambda q, v, mask, **options: lsh_attention(
    q,
    v,
    jnp.asarray(np.arange(_LENGTH) % 3, jnp.int32).reshape(1, 1, 1, -1),
    mask,
    n_buckets=3,
    chunk_len=4,
    causal=True,
    **options,
  ),
  'local': lambda q, v, mask, **options: local_attention(
    q, None, v, mask, chunk_len=4, n_chunks_before=1, causal=True, **options
  ),
  'full': lambda q, v, mask: full_attention(q, None, v, mask, causal=True),
}
_CASES = [
  ('lsh', {}),
  ('lsh', dict(strictly_causal=True)),
  ('lsh', dict(implementation='interpreted')),
  ('local', {}),
  ('local', dict(implementation='interpreted')),
  ('full', {}),
]


@pytest.mark.parametrize('kind,options', _CASES)
def test_no_operation_gives_nan(kind, options):
  """Without jit, which checks each operation; some rows see nothing."""
  rng = np.random.default_rng(0)
  q, v = (
    jnp.asarray(rng.normal(size=(1, 1, _LENGTH, 8)), jnp.float32)
    for _ in range(2)
  )
  mask = jnp.arange(_LENGTH)[None] % 4 > 0
  with jax.debug_nans(True):
    out, vjp = jax.vjp(lambda q, v: _KINDS[kind](q, v, mask, **options), q, v)
    gradients = vjp(jnp.ones_like(out))
  assert all(np.isfinite(x).all() for x in (out, *gradients))

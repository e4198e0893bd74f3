"""Keys of shared query-key attention: queries of length 1."""

import jax
import jax.numpy as jnp

# Added to the mean square of a key before it divides, as in Trax.
_EPSILON = 1e-6


def normalised_keys(q):
  """The keys of shared query-key attention: q / |q|, any leading shape."""
  return (q * inverse_norm(q.astype(jnp.float32))).astype(q.dtype)


def inverse_norm(x):
  """1 / |x|, with Trax's epsilon: its keys and scores are x / rms(x) / d^.5.

  Args:
    x: float32 [..., d].

  Returns:
    float32 [..., 1].
  """
  d = x.shape[-1]
  square = jnp.sum(x * x, axis=-1, keepdims=True)
  return jax.lax.rsqrt(square + d * _EPSILON)


def normalised_keys_bwd(x, inverse, d_normalised):
  """Gradient of x * inverse_norm(x).

  Args:
    x: float32 [..., d].
    inverse: float32 [..., 1], inverse_norm(x).
    d_normalised: float32 [..., d], gradient of the result.

  Returns:
    float32 [..., d].
  """
  along = jnp.sum(x * d_normalised, axis=-1, keepdims=True)
  return inverse * (d_normalised - inverse**2 * along * x)

"""One token from logits."""

import jax
import jax.numpy as jnp

from trax_reformer_ext.errors import ReformerError


def check_sampling(temperature, top_k, top_p):
  """Refuses what draw can't do.

  Raises:
    ReformerError: by the name of the parameter.
  """
  if not 0 <= temperature < float('inf'):
    raise ReformerError(
      f'temperature is {temperature}: give a number of at least 0 (0: always '
      'the likeliest token)'
    )
  if top_k < 0:
    raise ReformerError(
      f'top_k is {top_k}: give an int of at least 0 (0: all tokens)'
    )
  if not 0 < top_p <= 1:
    raise ReformerError(
      f'top_p is {top_p}: give a number in (0, 1] (1: all tokens)'
    )


def draw(keys, logits, *, temperature=1.0, top_k=0, top_p=1.0):
  """Draws a token for each row.

  Args:
    keys: JAX PRNG keys, one a row.
    logits: float [rows, vocab_size]; -inf for what is never drawn.
    temperature: float >= 0, divides the logits; 0 takes the likeliest.
    top_k: int, of the likeliest tokens alone; 0 for all.
    top_p: float in (0, 1], of the fewest likeliest tokens whose probabilities
      reach it (nucleus sampling, Holtzman et al. 2020); 1 for all.

  Returns:
    int32 [rows].
  """
  logits = logits.astype(jnp.float32)
  if temperature == 0:
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)
  logits = logits / temperature
  if 0 < top_k < logits.shape[-1]:
    least = jax.lax.top_k(logits, top_k)[0][:, -1:]
    logits = jnp.where(logits < least, -jnp.inf, logits)
  if top_p < 1:
    order = jnp.sort(logits, axis=-1, descending=True)
    probabilities = jax.nn.softmax(order)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    least = jnp.min(
      jnp.where(before < top_p, order, jnp.inf), axis=-1, keepdims=True
    )
    logits = jnp.where(logits < least, -jnp.inf, logits)
  return jax.vmap(jax.random.categorical)(keys, logits).astype(jnp.int32)

"""Logits of given sequences by the cached path, which generation takes."""

import jax
import jax.numpy as jnp

from trax_reformer_ext.decoding.outputs import logits_at


def cached_logits(model, inputs, weights, state, rng):
  """Computes token by token what a full pass computes at once.

  Args:
    model: ReformerLM or Reformer in mode 'predict', whose caches hold the
      target.
    inputs: (target int32 [batch, length],) or (source, target).
    weights: of the model.
    state: of the model, before its first call.
    rng: JAX PRNG key.

  Returns:
    float [batch, length, vocab_size], the logits at a position those of its own
    token.
  """
  *source, target = inputs

  def step(state, token):
    token = token[:, None]
    arguments = (*source, token) if source else token
    outputs, state = model.pure_fn(arguments, weights, state, rng)
    return state, logits_at(outputs, 0)

  shifted = jnp.pad(target, ((0, 0), (1, 0)))[:, :-1].T
  state, logits = step(state, shifted[0])
  _, others = jax.lax.scan(step, state, shifted[1:])
  return jnp.concatenate([logits[:, None], jnp.swapaxes(others, 0, 1)], axis=1)

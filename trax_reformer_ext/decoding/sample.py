"""Sampling by full passes over the sequence so far."""

import jax
import jax.numpy as jnp

from trax_reformer_ext.decoding.outputs import logits_at


def sample(model, prompt, length, temperature=1.0, seed=0, excluded=(0, 1)):
  """Continues a prompt, one token after another, in one compiled loop.

  Every token costs a pass over the whole sequence, which any model can do
  whose outputs do not depend on later tokens: LSH attention with
  strictly_causal, local and full attention.

  Args:
    model: initialised ReformerLM in mode 'eval' that shifts its input.
    prompt: int [n], token ids.
    length: int, tokens to add.
    temperature: float > 0, divides the logits.
    seed: int.
    excluded: token ids that are never drawn (padding and end).

  Returns:
    int32 numpy-like array [length].
  """
  prompt = jnp.asarray(prompt, jnp.int32)
  n = prompt.shape[0]
  tokens = jnp.pad(prompt, (0, length))
  excluded = jnp.asarray(excluded, jnp.int32)

  @jax.jit
  def run(weights, state, tokens, rng):
    def step(i, tokens):
      outputs, _ = model.pure_fn(tokens[None], weights, state, rng)
      logits = logits_at(outputs, i)[0].astype(jnp.float32) / temperature
      logits = logits.at[excluded].set(-jnp.inf)
      token = jax.random.categorical(jax.random.fold_in(rng, i), logits)
      return tokens.at[i].set(token)

    return jax.lax.fori_loop(n, n + length, step, tokens)

  rng = jax.random.PRNGKey(seed)
  return run(model.weights, model.state, tokens, rng)[n:]

"""Continuations of prompts, token by token in compiled pieces."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from trax_reformer_ext.decoding.outputs import logits_at
from trax_reformer_ext.decoding.sampling import check_sampling, draw
from trax_reformer_ext.errors import ReformerError
from trax_reformer_ext.layers import with_prompt_lengths

# Prompts are padded to multiples of this at least.
_SHORTEST = 32


class Generator:
  """Continues batches of prompts with a model in mode 'predict'.

  A prompt is consumed by one parallel pass. After that a compiled loop adds a
  piece of tokens at a time, in caches that are updated where they are. Prompts
  are padded to one of four lengths between two powers of two, so that few
  programs are compiled.
  """

  def __init__(
    self,
    model,
    *,
    temperature=1.0,
    top_k=0,
    top_p=1.0,
    excluded=(0, 1),
    stop_id=None,
    longest=None,
    piece=16,
  ):
    """Prepares the programs; nothing is compiled yet.

    Args:
      model: initialised ReformerLM in mode 'predict', before its first call.
      temperature: float, as of draw.
      top_k: int, as of draw.
      top_p: float, as of draw.
      excluded: token ids that are never drawn (padding and end).
      stop_id: int, the token that ends a sequence; None for none. What comes
        after it is 0.
      longest: int, tokens that the model's positions and caches hold, the start
        included; None for no limit.
      piece: int, tokens between two returns to Python.

    Raises:
      ReformerError: parameters of draw that won't do.
    """
    check_sampling(temperature, top_k, top_p)
    self._model = model
    self._excluded = np.asarray([i for i in excluded if i != stop_id], np.int32)
    self._stop_id, self._longest, self._piece = stop_id, longest, piece
    self._draw = functools.partial(
      draw, temperature=temperature, top_k=top_k, top_p=top_p
    )
    self._start = jax.jit(self._run_prompt)
    self._continue = jax.jit(self._run_piece, donate_argnums=1)

  def generate(self, prompts, length, seed=0):
    """Yields pieces of the continuations.

    Args:
      prompts: list of int sequences, which may be empty and differ in length.
      length: int, tokens to add to each.
      seed: int. A row's tokens are a function of it, the row's number and its
        prompt.

    Yields:
      int32 numpy [n_prompts, at most piece]; length in all, or less where all
      have ended.

    Raises:
      ReformerError: more tokens than the model holds.
    """
    lengths = np.asarray([len(p) for p in prompts], np.int32)
    n_prompt = int(lengths.max())
    padded = np.zeros((len(prompts), self._bucket(n_prompt, length)), np.int32)
    for row, prompt in zip(padded, prompts, strict=True):
      row[: len(prompt)] = prompt
    keys = jax.random.split(jax.random.PRNGKey(seed), len(prompts))
    weights = self._model.weights
    carry = self._start(weights, self._model.state, padded, lengths, keys)
    done = 0
    while done < length:
      carry, tokens, ended = self._continue(weights, carry, keys)
      tokens = np.asarray(tokens)[:, : length - done]
      yield tokens
      done += tokens.shape[1]
      if ended:
        return

  def _run_prompt(self, weights, state, prompts, lengths, keys):
    """The parallel pass: (tokens drawn, how many, which ended, state)."""
    state = with_prompt_lengths(state, lengths + 1)
    shifted = jnp.pad(prompts, ((0, 0), (1, 0)))
    outputs, state = self._model.pure_fn(shifted, weights, state, keys[0])
    token = self._pick(logits_at(outputs, lengths), keys, 0)
    return token, jnp.int32(0), jnp.zeros(token.shape, bool), state

  def _run_piece(self, weights, carry, keys):
    """Gives out the token that is drawn already and draws the next one."""

    def step(i, loop):
      (token, n, ended, state), out = loop
      out = out.at[:, i].set(jnp.where(ended, 0, token))
      if self._stop_id is not None:
        ended |= token == self._stop_id
      outputs, state = self._model.pure_fn(
        token[:, None], weights, state, keys[0]
      )
      logits = logits_at(outputs, 0)
      token = self._pick(logits, keys, n + 1)
      return (token, n + 1, ended, state), out

    rows = carry[0].shape[0]
    out = jnp.zeros((rows, self._piece), jnp.int32)
    carry, out = jax.lax.fori_loop(0, self._piece, step, (carry, out))
    return carry, out, jnp.all(carry[2])

  def _pick(self, logits, keys, n):
    logits = logits.at[:, self._excluded].set(-jnp.inf)
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, n)
    return self._draw(keys, logits)

  def _bucket(self, n_prompt, length):
    """A padded length of prompts: with the start, one of four an octave."""
    step = max(_SHORTEST, 1 << n_prompt.bit_length() >> 3)
    padded = -(-(n_prompt + 1) // step) * step - 1
    if self._longest is None:
      return padded
    if n_prompt + length > self._longest:
      raise ReformerError(
        f'length is {length} after a prompt of {n_prompt} tokens, but the '
        f'model takes {self._longest} in all: shorten one of them'
      )
    return min(padded, self._longest - 1)

"""Generation by trax.models.ReformerLM, for benchmarks/generation_peers.py.

Trax 1.4.1's mode 'predict' does not start on current JAX; what it lacks is
given to it here, in this process alone. Where Trax leaves a choice, the one
that is fastest for it:

- Memory. A local layer keeps its default, the chunk and the one before
  (predict_mem_len=256): more would cost time and change little. An LSH layer's
  holds the whole context and what is added (in Trax's reformer_enwik8.gin it
  is 16,384), with that file's predict_drop_len, so that no token is forgotten,
  as none is by the other two.
- The prompt in one call, which Trax allows at the start for whole chunks, of
  256; one by one, 16,384 tokens would take many minutes.
- Positions from a table, which is what reformer_enwik8.gin gives in Trax 1.4.1
  (pos_axial_shape without pos_type). Its axial ones make the table of all
  65,536 positions anew in each call, which takes longer than all the rest.
- Steps compiled together with the choice of the token, in caches that are
  given away (donated): trax.supervised.decoding compiles the model alone and
  copies them. A call for each token, or a compiled loop over a piece, as this
  package's Generator has it; one head at a time, as in reformer_enwik8.gin, or
  all together (n_parallel_heads): the fastest of the four, tried first.
"""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
from turns import serve

import trax_reformer_ext  # noqa: F401  before Trax, whose import it fixes

# isort: split
import trax
from trax import layers as tl
from trax import shapes
from trax.fastmath import jax as backend


def mend_trax():
  """Gives Trax the lax.cond and lax.stop_gradient that it was written for."""

  def cond(pred, true_fun, false_fun, true_operand, false_operand):
    # Once where both are the same, so that no second one is carried along.
    if true_operand is false_operand:
      return jax.lax.cond(pred, true_fun, false_fun, true_operand)
    return jax.lax.cond(
      pred,
      lambda x, _: true_fun(x),
      lambda _, x: false_fun(x),
      true_operand,
      false_operand,
    )

  def stop_gradient(x):
    # Trax passes lengths through it, which have to stay ints.
    return x if isinstance(x, int) else jax.lax.stop_gradient(x)

  backend.JAX_BACKEND['cond'] = cond
  backend.JAX_BACKEND['stop_gradient'] = stop_gradient


def make_model(options, memory, n_parallel_heads=1):
  """The ReformerLM in mode 'predict', with random weights."""
  types = dict(
    local=functools.partial(
      tl.SelfAttention, n_parallel_heads=n_parallel_heads, **options['local']
    ),
    lsh=functools.partial(
      tl.LSHSelfAttention,
      n_parallel_heads=n_parallel_heads,
      predict_mem_len=memory,
      predict_drop_len=256,
      **options['lsh'],
    ),
  )
  same = 'vocab_size', 'd_model', 'd_ff', 'n_heads', 'n_layers'
  model = trax.models.ReformerLM(
    d_attention_key=options['d_head'],
    d_attention_value=options['d_head'],
    dropout=0.0,
    max_len=options['n_positions'],
    attention_type=[types[name] for name in options['attention']],
    ff_activation=tl.Relu,
    mode='predict',
    **{name: options[name] for name in same},
  )
  model.init(shapes.ShapeDtype((1, 1), np.int32))
  return model


def run(model, weights, state, tokens):
  """The prompt or a token: (state, the next token [1, 1])."""
  rng = jax.random.PRNGKey(0)
  logits, state = model.pure_fn(tokens, weights, state, rng)
  return state, jnp.argmax(logits[:, -1:], axis=-1).astype(jnp.int32)


def by_calls(step, piece):
  """A function that adds a piece of tokens by a call for each."""
  compiled = jax.jit(step, donate_argnums=1)

  def add(weights, state, token):
    out = []
    for _ in range(piece):
      out.append(int(token[0, 0]))
      state, token = compiled(weights, state, token)
    return state, jax.block_until_ready(token), out

  return add


def by_loop(step, piece):
  """A function that adds a piece of tokens by a compiled loop."""

  @functools.partial(jax.jit, donate_argnums=1)
  def compiled(weights, state, token):
    def add_one(i, loop):
      state, token, out = loop
      return *step(weights, state, token), out.at[i].set(token[0, 0])

    out = jnp.zeros(piece, jnp.int32)
    return jax.lax.fori_loop(0, piece, add_one, (state, token, out))

  def add(weights, state, token):
    state, token, out = compiled(weights, state, token)
    return state, token, np.asarray(out).tolist()

  return add


def prepare(options):
  """As serve takes it."""
  mend_trax()
  context, n_tokens = options['context'], options['n_tokens']
  piece = options['piece']
  memory = context + piece + n_tokens
  model = make_model(options, memory)
  initial, weights = model.state, model.weights
  prompt = np.random.default_rng(0).integers(2, 258, (1, context), np.int32)
  start = jax.jit(functools.partial(run, model))
  ways = {}
  for heads in 1, options['n_heads']:
    other = make_model(options, memory, heads)
    other.weights = weights  # and its own are freed; states are alike
    step = functools.partial(run, other)
    ways[f'calls, heads by {heads}'] = by_calls(step, piece)
    ways[f'loop, heads by {heads}'] = by_loop(step, piece)

  def seconds(way):
    state, token = start(weights, initial, prompt)
    state, token, _ = way(weights, state, token)  # compiles
    started = time.perf_counter()
    way(weights, state, token)
    return time.perf_counter() - started

  tried = {name: seconds(way) / piece for name, way in ways.items()}
  best = min(tried, key=tried.get)
  way = ways[best]
  about = ', '.join(f'{name}: {1e3 * s:.1f} ms' for name, s in tried.items())

  def measure():
    started = time.perf_counter()
    state, token = jax.block_until_ready(start(weights, initial, prompt))
    after_prompt = time.perf_counter()
    state, token, _ = way(weights, state, token)
    after_first = time.perf_counter()
    for _ in range(n_tokens // piece):
      state, token, _ = way(weights, state, token)
    done = time.perf_counter()
    return dict(
      prompt=1e3 * (after_prompt - started) / context,
      token=1e3 * (done - after_first) / n_tokens,
    )

  return f'{about}; timed is {best}', measure


if __name__ == '__main__':
  serve(prepare)

"""Choices that depend on what the program runs on."""

import jax


def scores_bytes():
  """How many bytes the scores that attention computes at once should fill.

  On a CPU what the caches hold: smaller products do not use all cores, larger
  ones wait for memory. An accelerator runs thousands of them side by side, so
  it gets 16 times as many, which is still little beside its memory. Measured in
  benchmarks/README.md.

  Returns:
    int, by the platform that JAX compiles for by default.
  """
  return 2**22 if jax.default_backend() == 'cpu' else 2**26

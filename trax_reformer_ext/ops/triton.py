"""Launches kernels by Pallas with its Triton backend, and states its limits."""

from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as pallas_triton

# Kernels compute offsets into arrays as int32, and the second axis of a CUDA
# grid has at most 65,535 programs.
MAX_ELEMENTS = 2**31 - 1
MAX_SEQUENCES = 2**16 - 1


def call(
  program, name, grid, arrays, outs, *, num_warps, num_stages, interpret
):
  """Runs a kernel.

  Args:
    program: function of references to the arrays, then to the results, that one
      program of the grid runs.
    name: str, of the kernel.
    grid: (int, int), programs along each axis; the first runs fastest.
    arrays: list of arrays.
    outs: list of jax.ShapeDtypeStruct.
    num_warps: int, warps of 32 threads in a program.
    num_stages: int, loads in flight in a loop.
    interpret: bool, computes by JAX's operations in place of a kernel.

  Returns:
    List of arrays.
  """
  parameters = pallas_triton.CompilerParams(
    num_warps=num_warps, num_stages=num_stages
  )
  whole = pl.BlockSpec(memory_space=pl.ANY)
  return pl.pallas_call(
    program,
    grid=grid,
    in_specs=[whole] * len(arrays),
    out_specs=[whole] * len(outs),
    out_shape=outs,
    interpret=interpret,
    compiler_params=None if interpret else parameters,
    name=name,
  )(*arrays)


def is_depth(n, most):
  """Whether rows of n features fit a kernel: powers of 2 from 16 up to most."""
  return 16 <= n <= most and not n & (n - 1)

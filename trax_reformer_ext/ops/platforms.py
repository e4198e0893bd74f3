"""Choices that depend on what the program runs on."""

import re

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


IMPLEMENTATIONS = 'auto', 'xla', 'fused', 'interpreted'


def why_no_kernels():
  """Why the fused kernels do not run on the default device, or None."""
  device = jax.devices()[0]
  # On AMD GPUs compute_capability is a name, such as gfx90a.
  capability = re.fullmatch(
    r'(\d+)\.\d+', str(getattr(device, 'compute_capability', ''))
  )
  if not capability:
    return f'the device is {device.device_kind}: an NVIDIA GPU is needed'
  if int(capability.group(1)) < 8:
    return (
      f'{device.device_kind} has compute capability {capability.group()}: at '
      'least 8.0 is needed'
    )
  return None

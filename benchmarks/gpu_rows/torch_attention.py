"""Times torch's exact causal attention, one JSON object a line for each row.

The same shapes as layers.py: 8 heads of 64 in bfloat16, without projections,
by each fused kernel of scaled_dot_product_attention that the device has.

  python benchmarks/gpu_rows/torch_attention.py
  python benchmarks/gpu_rows/torch_attention.py --quick
"""

import statistics
import time

import rows
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention


def main():
  arguments = rows.parser(__doc__, seconds=40).parse_args()
  ends = time.monotonic() + arguments.seconds
  on_gpu = torch.cuda.is_available()
  kernels = {'flash': SDPBackend.FLASH_ATTENTION}
  if on_gpu:
    kernels['cudnn'] = SDPBackend.CUDNN_ATTENTION
  lengths = (512,) if arguments.quick else (65536, 16384, 8192, 4096, 1024)
  for length in lengths:
    for name, kernel in kernels.items():
      for backward in (True, False):
        if time.monotonic() > ends:
          return
        passes = 'forward+backward' if backward else 'forward'
        row = dict(name=f'torch {name}, {length:,}, bfloat16, {passes}')
        try:
          with sdpa_kernel(kernel):
            row['seconds'] = measure(length, backward, on_gpu)
          row['torch'] = torch.__version__
        except Exception as e:
          row['error'] = rows.said_by(e)
        rows.tell(row)


def measure(length, backward, on_gpu):
  """Seconds of a run: the median of three turns."""
  device = 'cuda' if on_gpu else 'cpu'
  q, k, v, d_out = (
    torch.randn(1, 8, length, 64, device=device, dtype=torch.bfloat16)
    for _ in range(4)
  )
  inputs = [x.requires_grad_(backward) for x in (q, k, v)]

  def run():
    y = scaled_dot_product_attention(*inputs, is_causal=True)
    if backward:
      torch.autograd.grad(y, inputs, d_out)

  wait = torch.cuda.synchronize if on_gpu else lambda: None
  run()
  wait()
  n, times = (10 if on_gpu else 1), []
  for _ in range(3):
    started = time.perf_counter()
    for _ in range(n):
      run()
    wait()
    times.append((time.perf_counter() - started) / n)
  return statistics.median(times)


if __name__ == '__main__':
  main()

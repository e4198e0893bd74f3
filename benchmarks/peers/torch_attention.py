"""Attention layers in torch, for benchmarks/attention_peers.py."""

import time

import torch
from turns import serve


def prepare(options):
  """As serve takes it; options: kind is huggingface, lucidrains or exact."""
  torch.set_num_threads(options['n_threads'])
  torch.manual_seed(0)
  make, about = _KINDS[options['kind']]()
  made = {}

  def measure(length, batch, rounds, backward):
    shape = length, batch, rounds
    if shape not in made:
      made.clear()
      x = torch.randn(batch, length, 512, requires_grad=True)
      made[shape] = make(length, rounds), x
    layer, x = made[shape]
    x.grad = None
    started = time.perf_counter()
    if backward:
      y = layer(x)
      y.backward(y.detach())
    else:
      with torch.no_grad():
        layer(x)
    return dict(seconds=time.perf_counter() - started)

  return f'torch {torch.__version__}{about}', measure


class Projected(torch.nn.Module):
  """A layer of Hugging Face's, and the projection of its output."""

  def __init__(self, attention):
    super().__init__()
    self.attention = attention
    self.output = torch.nn.Linear(512, 512, bias=False)

  def forward(self, x):
    return self.output(self.attention(x).hidden_states)


class Exact(torch.nn.Module):
  """Causal softmax attention with separate keys, by torch's own function."""

  def __init__(self):
    super().__init__()
    make = lambda: torch.nn.Linear(512, 512, bias=False)
    self.inward = torch.nn.ModuleList([make() for _ in range(3)])
    self.outward = make()

  def forward(self, x):
    split = lambda y: y.view(*x.shape[:2], 8, 64).transpose(1, 2)
    q, k, v = (split(linear(x)) for linear in self.inward)
    attend = torch.nn.functional.scaled_dot_product_attention
    y = attend(q, k, v, is_causal=True)
    return self.outward(y.transpose(1, 2).reshape(x.shape))


def _huggingface():
  import transformers
  from transformers.models.reformer import modeling_reformer

  def make(length, rounds):
    n_buckets = 2 * length // 64
    config = transformers.ReformerConfig(
      hidden_size=512,
      num_attention_heads=8,
      attention_head_size=64,
      num_hashes=rounds,
      num_buckets=n_buckets if n_buckets < 512 else [n_buckets // 32, 32],
      lsh_attn_chunk_length=64,
      lsh_num_chunks_before=1,
      lsh_num_chunks_after=0,
      lsh_attention_probs_dropout_prob=0.0,
      max_position_embeddings=length,
      is_decoder=True,
    )
    return Projected(modeling_reformer.LSHSelfAttention(config))

  return make, f', transformers {transformers.__version__}'


def _lucidrains():
  from importlib import metadata

  from reformer_pytorch import LSHSelfAttention

  def make(length, rounds):
    del length
    return LSHSelfAttention(
      dim=512, heads=8, bucket_size=64, n_hashes=rounds, causal=True
    )

  return make, f', reformer-pytorch {metadata.version("reformer-pytorch")}'


_KINDS = {
  'huggingface': _huggingface,
  'lucidrains': _lucidrains,
  'exact': lambda: (lambda length, rounds: Exact(), ''),
}

if __name__ == '__main__':
  serve(prepare)

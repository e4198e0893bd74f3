"""Generation by Hugging Face's Reformer, for benchmarks/generation_peers.py.

Runs in an environment of its own, with torch 2.13.0 and transformers 5.23.0:
ReformerModelWithLMHead.generate with its cache, greedy. A step is timed from
one call of the logits processor to the next, so that the prompt's pass, which
takes as long as many steps, is in no difference. What is set:

- Prompts are whole chunks (multiples of 256), so that generate adds no padding.
- Positions from a table: the axial ones make the table of all positions so far
  anew for each token (50 MB at 16,384).
- hash_seed: without one every step hashes with new rotations, and the cached
  buckets mean nothing.
- No chunks of the feed-forward layer: its time, not its memory, is compared.
"""

import time

import torch
import transformers
from transformers import (
  LogitsProcessor,
  LogitsProcessorList,
  ReformerConfig,
  ReformerModelWithLMHead,
)
from turns import serve


class Clock(LogitsProcessor):
  """Notes when the logits of each token are there."""

  def __init__(self):
    self.times = []

  def __call__(self, input_ids, scores):
    self.times.append(time.perf_counter())
    return scores


def make_model(options):
  """The model with random weights."""
  local, lsh = options['local'], options['lsh']
  attention, n_layers = options['attention'], options['n_layers']
  config = ReformerConfig(
    attn_layers=attention * (n_layers // len(attention)),
    hidden_size=options['d_model'],
    feed_forward_size=options['d_ff'],
    num_attention_heads=options['n_heads'],
    attention_head_size=options['d_head'],
    local_attn_chunk_length=local['chunk_len'],
    local_num_chunks_before=local['n_chunks_before'],
    lsh_attn_chunk_length=lsh['chunk_len'],
    lsh_num_chunks_before=lsh['n_chunks_before'],
    num_hashes=lsh['n_hashes'],
    num_buckets=lsh['n_buckets'],
    axial_pos_embds=False,
    max_position_embeddings=options['n_positions'],
    vocab_size=options['vocab_size'],
    hidden_act='relu',
    is_decoder=True,
    hash_seed=0,
    eos_token_id=None,  # nothing ends early
    pad_token_id=0,
  )
  return ReformerModelWithLMHead(config).eval()


def prepare(options):
  """As serve takes it."""
  torch.set_num_threads(options['n_threads'])
  torch.manual_seed(0)
  context, n_tokens = options['context'], options['n_tokens']
  model = make_model(options)
  prompt = torch.randint(2, options['vocab_size'], (1, context))

  @torch.no_grad()
  def measure(n_before=options['piece'], n_tokens=n_tokens):
    clock = Clock()
    started = time.perf_counter()
    model.generate(
      prompt,
      max_new_tokens=1 + n_before + n_tokens,  # the prompt's pass gives one
      do_sample=False,
      use_cache=True,
      logits_processor=LogitsProcessorList([clock]),
    )
    times = clock.times
    return dict(
      prompt=1e3 * (times[0] - started) / context,
      token=1e3 * (times[-1] - times[n_before]) / n_tokens,
    )

  measure(n_before=1, n_tokens=1)  # so that memory is there
  versions = torch.__version__, transformers.__version__
  return 'torch {}, transformers {}'.format(*versions), measure


if __name__ == '__main__':
  serve(prepare)

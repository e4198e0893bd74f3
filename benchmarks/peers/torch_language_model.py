"""Hugging Face's language model, for benchmarks/language_model_peers.py."""

import time

import torch
import transformers
from turns import serve


def prepare(options):
  """As serve takes it; options: n_threads, length and n_layers."""
  torch.set_num_threads(options['n_threads'])
  torch.manual_seed(0)
  length = options['length']
  config = transformers.ReformerConfig(
    attn_layers=['local', 'local', 'lsh', 'local'] * (options['n_layers'] // 4),
    hidden_size=768,
    feed_forward_size=2048,
    num_attention_heads=8,
    attention_head_size=64,
    vocab_size=258,
    num_hashes=2,
    num_buckets=64,
    lsh_attn_chunk_length=256,
    local_attn_chunk_length=128,
    lsh_num_chunks_before=1,
    local_num_chunks_before=1,
    lsh_attention_probs_dropout_prob=0.0,
    local_attention_probs_dropout_prob=0.0,
    hidden_dropout_prob=0.0,
    chunk_size_feed_forward=1024,
    chunk_size_lm_head=1024,
    max_position_embeddings=length,
    axial_pos_shape=(64, length // 64),
    axial_pos_embds_dim=(256, 512),
    is_decoder=True,
    use_cache=False,
  )
  model = transformers.ReformerModelWithLMHead(config).train()
  ids = torch.randint(2, 258, (1, length))

  def measure():
    model.zero_grad()
    started = time.perf_counter()
    model(ids, labels=ids).loss.backward()
    return dict(seconds=time.perf_counter() - started)

  about = f'torch {torch.__version__}, transformers {transformers.__version__}'
  return about, measure


if __name__ == '__main__':
  serve(prepare)

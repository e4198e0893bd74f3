"""Reformers of Hugging Face's transformers, with random weights.

In float64: their penalty of 1e5 for a token's attention to itself rounds the
logarithms of rounds that hold nothing else by up to 2e-3 in float32.
"""

import functools
import math

import jax.numpy as jnp
import numpy as np
import pytest

import trax_reformer_ext as ext
from trax_reformer_ext import LSHSelfAttention, SelfAttention

REASON = "needs pip install -e '.[huggingface]'"
torch = pytest.importorskip('torch', reason=REASON)
transformers = pytest.importorskip('transformers', reason=REASON)

SIZES = dict(
  attention_head_size=4,
  attn_layers=['local', 'lsh'],
  axial_pos_embds_dim=[3, 5],
  axial_pos_shape=[4, 4],
  feed_forward_size=12,
  hash_seed=1,
  hidden_dropout_prob=0.0,
  hidden_size=8,
  is_decoder=True,
  local_attention_probs_dropout_prob=0.0,
  local_attn_chunk_length=4,
  lsh_attn_chunk_length=4,
  max_position_embeddings=16,
  num_attention_heads=2,
  num_buckets=4,
  num_hashes=2,
  vocab_size=13,
)


def save(folder, **config):
  """Saves a model, all of whose weights were moved at random.

  Args:
    folder: path.
    **config: of transformers.ReformerConfig, beside SIZES.

  Returns:
    The model, in float64.
  """
  torch.manual_seed(0)
  config = transformers.ReformerConfig(**(SIZES | config))
  kind = transformers.ReformerForMaskedLM
  if config.is_decoder:
    kind = transformers.ReformerModelWithLMHead
  model = kind(config)
  with torch.no_grad():
    for weights in model.parameters():
      weights.add_(0.1 * torch.randn_like(weights))
    bias = getattr(model.lm_head.decoder, 'bias', None)
    # The one of the two that is not in the logits.
    if bias is None:
      model.lm_head.bias.zero_()
    else:
      model.lm_head.bias.copy_(bias)
  model.save_pretrained(folder)
  return model.eval().double()


def record_buckets(model, n_real_buckets):
  """Keeps the buckets of every LSH layer's last forward pass.

  Args:
    model: a Reformer of transformers.
    n_real_buckets: int, without the one for padding.

  Returns:
    dict from numbers of layers to int32 [batch, heads, rounds, length].
  """
  found = {}
  for i, layer in enumerate(model.reformer.encoder.layers):
    attention = layer.attention.self_attention
    if not hasattr(attention, 'query_key'):
      continue

    def recording(vectors, num_hashes, mask, *rest, i=i, own=None, **kwargs):
      flat = own(vectors, num_hashes, mask, *rest, **kwargs)
      batch, heads, length, _ = vectors.shape
      buckets = flat.numpy().reshape(batch, heads, num_hashes, length)
      padded = mask is not None and not bool(mask.all())
      offsets = (n_real_buckets + padded) * np.arange(num_hashes)
      # Where padding goes is ours to decide.
      buckets = buckets - offsets[:, None]
      found[i] = np.minimum(buckets, n_real_buckets - 1).astype(np.int32)
      return flat

    attention._hash_vectors = functools.partial(
      recording, own=attention._hash_vectors
    )
  return found


def attention_types(config, buckets):
  """Attention types of ours, one a layer, with given buckets."""
  types = []
  for i, kind in enumerate(config.attn_layers):
    options = {
      'chunk_len': getattr(config, f'{kind}_attn_chunk_length'),
      'n_chunks_before': getattr(config, f'{kind}_num_chunks_before'),
      'n_chunks_after': getattr(config, f'{kind}_num_chunks_after'),
    }
    if kind == 'local':
      types.append(functools.partial(SelfAttention, **options))
      continue
    # Sequences of one chunk are attended exactly there, without any buckets.
    own = buckets.get(i, np.zeros((1, 1, 1, 1), np.int32))

    def hash_fn(q, own=own):
      batch, heads, length, _ = q.shape
      part = own[:batch, :, :, :length]
      return jnp.broadcast_to(part, (batch, heads, own.shape[2], length))

    types.append(
      functools.partial(
        LSHSelfAttention,
        n_hashes=own.shape[2],
        n_buckets=config.num_buckets,
        hash_fn=hash_fn,
        **options,
      )
    )
  return types


def padded_tokens(length, n_padded):
  """Token ids of two examples and a mask; the second one ends in padding."""
  rng = np.random.default_rng(length)
  ids = rng.integers(1, SIZES['vocab_size'], (2, length))
  mask = np.ones_like(ids)
  if n_padded:
    ids[1, -n_padded:] = mask[1, -n_padded:] = 0
  return ids, mask


def logits_of(model, ids, mask):
  """Logits of a model of transformers, in numpy."""
  with torch.no_grad():
    out = model(
      torch.as_tensor(ids),
      attention_mask=torch.as_tensor(mask),
      use_cache=False,
    )
  return out.logits.numpy()


def n_buckets_of(model):
  """The number of buckets, of all factors together."""
  n = model.config.num_buckets
  return math.prod(n) if isinstance(n, (list, tuple)) else n


def assert_same_logits(folder, model, ids, mask, largest_at_least=0.5):
  """Asserts that the converted model has the logits of the other one.

  Args:
    folder: path, what the model is loaded from here.
    model: the same, of transformers.
    ids: int [batch, length].
    mask: int [batch, length], 0 at padding, which is not compared.
    largest_at_least: float, how large the logits are.

  Returns:
    The buckets, as of record_buckets.
  """
  buckets = record_buckets(model, n_buckets_of(model))
  expected = logits_of(model, ids, mask)
  ours = ext.load_model(
    folder,
    shift_right=False,
    attention_dropout=None,
    attention_type=attention_types(model.config, buckets),
  )
  found = np.asarray(ours(ids.astype(np.int32)))
  real = mask > 0
  assert np.abs(expected[real]).max() > largest_at_least
  np.testing.assert_allclose(found[real], expected[real], rtol=0, atol=1e-4)
  return buckets

"""Small models, described, with random weights."""

import numpy as np

from trax_reformer_ext.interop import Description
from trax_reformer_ext.interop.description import complete
from trax_reformer_ext.interop.weights import shapes_of

LOCAL = {'layer': 'SelfAttention', 'chunk_len': 4, 'n_chunks_before': 1}
LSH = {
  'layer': 'LSHSelfAttention',
  'chunk_len': 4,
  'n_hashes': 2,
  'n_buckets': 4,
}
_SIZES = {
  'ReformerLM': dict(
    vocab_size=13,
    n_layers=2,
    d_attention_key=4,
    d_attention_value=4,
    attention_type=[LOCAL, LSH],
    pos_axial_shape=[4, 8],
    pos_d_axial_embs=[3, 5],
    ff_activation='Relu',
  ),
  'Reformer': dict(
    input_vocab_size=13,
    output_vocab_size=11,
    n_encoder_layers=1,
    n_decoder_layers=2,
    max_len=32,
    encoder_attention_type=[LOCAL],
  ),
}
_OF_BOTH = dict(d_model=8, d_ff=12, n_heads=2, dropout=0.0)


def described(model='ReformerLM', seed=0, **arguments):
  """A Description of a small model.

  Args:
    model: str, its name.
    seed: int, of its weights.
    **arguments: of its constructor, as of Description.
  """
  arguments = complete(model, _OF_BOTH | _SIZES[model] | arguments, 'the test')
  description = Description(model, arguments, {})
  rng = np.random.default_rng(seed)
  weights = {
    name: rng.normal(0, 0.5, shape).astype(np.float32)
    for name, shape in shapes_of(description).items()
  }
  return description._replace(weights=weights)


def tokens(length=16, batch=2, n_ids=11, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(1, n_ids, (batch, length)).astype(np.int32)


def assert_same_weights(found, expected):
  """Asserts that two dicts of arrays are equal, bit by bit, and in order."""
  assert list(found) == list(expected)
  for name, array in expected.items():
    assert found[name].dtype == array.dtype == np.float32
    np.testing.assert_array_equal(found[name], array, err_msg=name)

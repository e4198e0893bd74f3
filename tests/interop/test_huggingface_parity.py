"""Converted models beside transformers' own: logits, gradients, generation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import trax_reformer_ext as ext
from tests.interop.of_transformers import (
  SIZES,
  assert_same_logits,
  attention_types,
  logits_of,
  n_buckets_of,
  padded_tokens,
  record_buckets,
  save,
  torch,
  transformers,
)
from tests.interop.small import LOCAL, assert_same_weights, described
from trax_reformer_ext.interop import huggingface, tensors
from trax_reformer_ext.training.conversion import convert

BOTH_WAYS = dict(
  is_decoder=False, local_num_chunks_after=1, lsh_num_chunks_after=1
)
GRID = {
  'local': dict(attn_layers=['local', 'local']),
  'lsh': dict(attn_layers=['lsh', 'lsh']),
  'mixed': dict(attn_layers=['local', 'lsh', 'lsh']),
  'local, not causal': dict(attn_layers=['local', 'local'], **BOTH_WAYS),
  'lsh, not causal': dict(attn_layers=['lsh'], is_decoder=False),
  'mixed, not causal': BOTH_WAYS,
  'not axial': dict(axial_pos_embds=False),
  'lsh, not axial': dict(attn_layers=['lsh'], axial_pos_embds=False),
  'chunks of different length': dict(
    lsh_attn_chunk_length=8, axial_pos_shape=[4, 8], max_position_embeddings=32
  ),
  'further look': dict(local_num_chunks_before=2, lsh_num_chunks_before=2),
  'no look': dict(local_num_chunks_before=0, lsh_num_chunks_before=0),
  'four rounds of factorised buckets': dict(
    num_hashes=4, num_buckets=[2, 4], layer_norm_eps=1e-3
  ),
  'one round': dict(num_hashes=1, num_buckets=2, hidden_act='gelu'),
  'slices': dict(chunk_size_feed_forward=4, chunk_size_lm_head=4),
}
ACTIVATIONS = [
  *('gelu', 'gelu_new', 'gelu_fast', 'gelu_pytorch_tanh', 'leaky_relu'),
  *('sigmoid', 'silu', 'swish', 'tanh'),
]


@pytest.mark.parametrize('n_padded', [0, 5])
@pytest.mark.parametrize('name', GRID)
def test_logits_at_multiples_of_the_chunk_lengths(name, n_padded, tmp_path):
  model = save(tmp_path, **GRID[name])
  ids, mask = padded_tokens(16, n_padded)
  buckets = assert_same_logits(tmp_path, model, ids, mask)
  n_lsh = model.config.attn_layers.count('lsh')
  assert len(buckets) == n_lsh
  for of_layer in buckets.values():
    assert len(np.unique(of_layer)) > 1


@pytest.mark.parametrize('n_padded', [0, 2])
@pytest.mark.parametrize('name', ['mixed', 'mixed, not causal'])
def test_logits_of_at_most_the_shortest_chunk(name, n_padded, tmp_path):
  model = save(tmp_path, **GRID[name])
  ids, mask = padded_tokens(4, n_padded)
  assert_same_logits(tmp_path, model, ids, mask)
  assert_same_logits(tmp_path, model, ids[:, :3], mask[:, :3])


@pytest.mark.parametrize('name', ACTIVATIONS)
def test_activations(name, tmp_path):
  options = dict(attn_layers=['local'], hidden_act=name)
  assert_same_logits(tmp_path, save(tmp_path, **options), *padded_tokens(4, 0))


@pytest.mark.parametrize('name', ['local', 'mixed', 'mixed, not causal'])
def test_gradients_of_the_loss(name, tmp_path):
  model = save(tmp_path, **GRID[name]).train()
  ids, mask = padded_tokens(16, 0 if name == 'local' else 5)
  targets = np.random.default_rng(0).integers(1, 13, ids.shape)
  buckets = record_buckets(model, n_buckets_of(model))
  weights = torch.as_tensor(mask, dtype=torch.float64)
  logits = model(
    torch.as_tensor(ids), attention_mask=torch.as_tensor(mask)
  ).logits
  per_token = torch.nn.functional.cross_entropy(
    logits.transpose(1, 2), torch.as_tensor(targets), reduction='none'
  )
  loss = (per_token * weights).sum() / weights.sum()
  loss.backward()
  # Under the names of weights, so that the same conversion takes them.
  named = {
    k: (torch.zeros_like(w) if w.grad is None else w.grad).float().numpy()
    for k, w in model.named_parameters()
  }
  has_bias = 'lm_head.decoder.bias' in named
  if has_bias:
    named['lm_head.bias'] = named.pop('lm_head.decoder.bias')
  tensors.write(named, tmp_path / 'model.safetensors', {'format': 'pt'})
  expected = huggingface.read(str(tmp_path))[0].weights

  save(tmp_path, **GRID[name])
  ours = ext.load_model(
    tmp_path,
    shift_right=False,
    attention_dropout=None,
    attention_type=attention_types(model.config, buckets),
  )

  @jax.jit
  def compute(weights):
    inputs = ids.astype(np.int32)
    logits, _ = ours.pure_fn(inputs, weights, ours.state, jax.random.PRNGKey(0))
    per_token = -jnp.take_along_axis(
      jax.nn.log_softmax(logits), targets[..., None], axis=-1
    )[..., 0]
    return (per_token * mask).sum() / mask.sum()

  value, gradients = jax.value_and_grad(compute)(ours.weights)
  assert abs(value - loss.item()) < 1e-5
  found = jax.tree.leaves(gradients)
  assert len(found) == len(expected)
  for (key, e), g in zip(expected.items(), found, strict=True):
    if key == 'projection.bias' and not has_bias:
      continue  # it is in no logits there
    assert np.abs(e).max() > 0, key
    error = np.abs(g - e).max() / np.abs(e).max()
    assert error <= 1e-3, f'{key}: {error:.1e}'


@pytest.mark.parametrize('name', ['mixed', 'not axial', 'mixed, not causal'])
def test_there_and_back_is_the_same_to_the_bit(name, tmp_path):
  model = save(tmp_path / 'theirs', **GRID[name])
  convert(str(tmp_path / 'theirs'), str(tmp_path / 'run'), 'run')
  convert(str(tmp_path / 'run'), str(tmp_path / 'back'), 'huggingface')
  again, info = type(model).from_pretrained(
    tmp_path / 'back', output_loading_info=True
  )
  assert not info['missing_keys'] and not info['mismatched_keys']
  assert set(info['unexpected_keys']) <= {'lm_head.decoder.bias'}
  state = model.float().state_dict()
  for key, x in again.state_dict().items():
    assert torch.equal(x, state[key]), key
  for key, value in SIZES.items():
    value = getattr(model.config, key)
    if key.startswith('axial_pos_') and not model.config.axial_pos_embds:
      continue
    found = getattr(again.config, key)
    as_list = lambda x: list(x) if isinstance(x, (list, tuple)) else x
    assert as_list(found) == as_list(value), key
  ids, mask = padded_tokens(16, 3)
  expected = logits_of(model.double(), ids, mask)
  np.testing.assert_array_equal(
    logits_of(again.eval().double(), ids, mask), expected
  )


def test_a_model_that_was_made_here_answers_generate(tmp_path):
  """Its greedy tokens are those of our own logits."""
  description = described(attention_type=[LOCAL])
  tensors.write_model(description, str(tmp_path / 'ours.safetensors'))
  convert(
    str(tmp_path / 'ours.safetensors'), str(tmp_path / 'hf'), 'huggingface'
  )
  model = transformers.ReformerModelWithLMHead.from_pretrained(tmp_path / 'hf')
  if model.lm_head.decoder.bias is None:  # left out of the logits
    description.weights['projection.bias'][:] = 0
    tensors.write_model(description, str(tmp_path / 'ours.safetensors'))
  ours = ext.load_model(tmp_path / 'ours.safetensors', shift_right=False)
  prompt = np.array([[0, 5, 3, 9]])
  found = model.eval().generate(
    torch.as_tensor(prompt), max_new_tokens=8, do_sample=False
  )
  expected = prompt
  for _ in range(8):
    padded = np.zeros((1, 16), np.int32)
    padded[:, : expected.shape[1]] = expected
    logits = ours(padded)[:, expected.shape[1] - 1]
    chosen = np.argmax(np.asarray(logits), -1)[:, None]
    expected = np.concatenate([expected, chosen], axis=1)
  np.testing.assert_array_equal(found.numpy(), expected)
  assert len(np.unique(found)) > 2


@pytest.mark.parametrize('safe', [True, False])
def test_shards_and_files_of_torch(safe, tmp_path):
  model = save(tmp_path / 'whole', **GRID['mixed'])
  expected = huggingface.read(str(tmp_path / 'whole'))[0].weights
  folder = tmp_path / 'other'
  if safe:
    model.float().save_pretrained(folder, max_shard_size=1000)
    assert (folder / 'model.safetensors.index.json').is_file()
  else:
    folder.mkdir()
    (folder / 'config.json').write_bytes(
      (tmp_path / 'whole' / 'config.json').read_bytes()
    )
    state = model.float().state_dict()
    # As versions of 2020 saved them.
    name = 'reformer.encoder.layers.1.attention.self_attention'
    state[f'{name}.self_mask_value_float32'] = torch.tensor(-1e5)
    torch.save(state, folder / 'pytorch_model.bin')
  assert_same_weights(huggingface.read(str(folder))[0].weights, expected)

"""What computes attention within chunks: XLA's operations or the kernels."""

import functools
import importlib
import types

import gin
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trax import layers as tl

from tests.layers.test_attention import (
  D_MODEL,
  LOCAL,
  LSH,
  applied,
  function_of,
  normal,
)
from tests.models.helpers import init, shaken
from tests.models.test_reformer_lm_options import LSH as SMALL_LSH
from tests.models.test_reformer_lm_options import SMALL, tokens_with
from tests.reference import assert_close
from trax_reformer_ext import ReformerError, SelfAttention
from trax_reformer_ext.ops import platforms

LAYERS = {
  'LSHSelfAttention': functools.partial(LSH, causal=True),
  'SelfAttention': functools.partial(LOCAL, causal=True),
}
KEY = jax.random.PRNGKey(0)


def fake_device(monkeypatch, kind, **attributes):
  device = types.SimpleNamespace(device_kind=kind, **attributes)
  monkeypatch.setattr(jax, 'devices', lambda *_: [device])


@pytest.mark.parametrize('kind', LAYERS)
def test_auto_is_xla_on_a_cpu_bit_for_bit(kind):
  x = normal(0, 2, 21, D_MODEL)
  default, auto, xla = (
    applied(LAYERS[kind](**options))(x)
    for options in (
      {},
      dict(implementation='auto'),
      dict(implementation='xla'),
    )
  )
  np.testing.assert_array_equal(default, xla)
  np.testing.assert_array_equal(auto, xla)


@pytest.mark.parametrize('kind', LAYERS)
def test_the_kernels_program_gives_the_same(kind):
  x = normal(0, 2, 21, D_MODEL)
  mask = np.arange(21) < np.array([[21], [13]])
  make = functools.partial(LAYERS[kind], masked=True)
  found, expected = (
    applied(make(implementation=way))(x, mask) for way in ('interpreted', 'xla')
  )
  assert_close(found, expected)


@pytest.mark.parametrize('kind', LAYERS)
def test_fused_on_a_cpu_is_refused_in_one_line(kind):
  apply = applied(LAYERS[kind](implementation='fused'))
  # Trax says which layer it passed through; the command prints the cause.
  with pytest.raises(tl.base.LayerError) as raised:
    apply(normal(0, 1, 8, D_MODEL))
  cause = raised.value.__context__
  assert isinstance(cause, ReformerError)
  assert str(cause) == (
    f"{kind}.implementation is 'fused', but the device is cpu: an NVIDIA GPU "
    "is needed; 'auto' takes the kernel where it can be"
  )


@pytest.mark.parametrize('kind', LAYERS)
@pytest.mark.parametrize('name', ['triton', None])
def test_unknown_implementations_are_refused(kind, name):
  message = f'^{kind}.implementation is {name!r}: give one of .*interpreted'
  with pytest.raises(ReformerError, match=message):
    LAYERS[kind](implementation=name)


@pytest.mark.parametrize(
  'kind,attributes,expected',
  [
    ('NVIDIA H100', dict(compute_capability='9.0'), None),
    ('NVIDIA A100', dict(compute_capability='8.0'), None),
    ('NVIDIA B200', dict(compute_capability='10.0'), None),
    (
      'Tesla T4',
      dict(compute_capability='7.5'),
      'Tesla T4 has compute capability 7.5: at least 8.0 is needed',
    ),
    (
      'AMD Instinct MI250',
      dict(compute_capability='gfx90a'),
      'the device is AMD Instinct MI250: an NVIDIA GPU is needed',
    ),
    ('TPU v5e', {}, 'the device is TPU v5e: an NVIDIA GPU is needed'),
  ],
)
def test_the_gpu_decides_whether_there_are_kernels(
  kind, attributes, expected, monkeypatch
):
  fake_device(monkeypatch, kind, **attributes)
  assert platforms.why_no_kernels() == expected


def asked_of(monkeypatch, kind, **options):
  """The implementation that a layer asks its attention to use."""
  module = importlib.import_module(
    dict(
      LSHSelfAttention='trax_reformer_ext.layers.lsh_attention',
      SelfAttention='trax_reformer_ext.layers.attention',
    )[kind]
  )
  asked = []

  def attend(*arrays, implementation, **_):
    asked.append(implementation)
    return jnp.zeros_like(arrays[0 if kind == 'LSHSelfAttention' else 2])

  name = dict(LSHSelfAttention='lsh_attention', SelfAttention='local_attention')
  monkeypatch.setattr(module, name[kind], attend)
  layer = LAYERS[kind](**dict(dict(d_qk=64, d_v=64, chunk_len=64), **options))
  jax.eval_shape(function_of(layer), normal(0, 1, 128, D_MODEL))
  assert len(asked) == 1
  return asked[0]


@pytest.mark.parametrize('kind', LAYERS)
def test_auto_takes_the_kernel_on_a_gpu_that_runs_it(kind, monkeypatch):
  fake_device(monkeypatch, 'NVIDIA H100', compute_capability='9.0')
  asked = functools.partial(asked_of, monkeypatch, kind)
  assert asked() == 'fused'
  assert asked(implementation='fused') == 'fused'
  assert asked(implementation='xla') == 'xla'
  assert asked(chunk_len=10) == 'xla'
  assert asked(d_qk=48, d_v=48) == 'xla'
  message = 'implementation is .fused., but chunk_len is 10: a multiple of 16'
  with pytest.raises(tl.base.LayerError, match=message):
    asked(chunk_len=10, implementation='fused')
  fake_device(monkeypatch, 'Tesla T4', compute_capability='7.5')
  assert asked() == 'xla'


def test_full_attention_has_no_kernel():
  message = "SelfAttention.implementation is 'fused' without chunk_len"
  with pytest.raises(ReformerError, match=message):
    SelfAttention(implementation='fused')


def small_model(implementation):
  """A reversible ReformerLM that trains, configured by gin."""
  with gin.unlock_config():
    gin.bind_parameter(
      'trax_reformer_ext.LSHSelfAttention.implementation', implementation
    )
  return SMALL(mode='train', n_layers=1, attention_type=[SMALL_LSH])


def loss_and_gradients(model, weights, state):
  """((loss, gradients), the jaxpr)."""

  def loss(weights):
    logits, _ = model.pure_fn(tokens_with(14), weights, state, KEY)
    return jnp.square(logits).mean()

  traced = jax.jit(jax.value_and_grad(loss)).trace(weights)
  return traced.lower().compile()(weights), str(traced.jaxpr)


def test_a_reversible_model_trains_alike_with_the_kernels_program():
  by_xla, by_kernel = small_model('xla'), small_model('interpreted')
  weights, state = init(by_xla, tokens_with(14).shape)
  weights = shaken(weights)
  (expected, expected_gradients), said_xla = loss_and_gradients(
    by_xla, weights, state
  )
  (loss, gradients), said = loss_and_gradients(by_kernel, weights, state)
  for name in ('hash_vectors', 'chunked_attention_backward'):
    assert name in said and name not in said_xla
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  pairs = zip(
    jax.tree.leaves(gradients), jax.tree.leaves(expected_gradients), strict=True
  )
  for found, wanted in pairs:
    assert_close(found, wanted, 1e-4)

"""Checks that a model and what it is given go together."""

import numpy as np
import pytest
from trax import layers as tl
from trax import shapes

from trax_reformer_ext import Reformer, ReformerError
from trax_reformer_ext.training.checks import check_weights


@pytest.mark.parametrize(
  'size,parameter', [(20, 'input_vocab_size'), (30, 'output_vocab_size')]
)
def test_the_vocabulary_of_another_checkpoint_is_named(size, parameter):
  model = Reformer(
    input_vocab_size=20,
    output_vocab_size=30,
    d_model=8,
    d_ff=8,
    n_heads=2,
    n_encoder_layers=2,
    n_decoder_layers=2,
    max_len=16,
    mode='eval',
  )
  model.init([shapes.ShapeDtype((1, 4), np.int32)] * 2)
  own, _ = tl.flatten_weights_and_state(model.weights, ())
  check_weights(model, own, 'runs/x')
  other = [np.zeros((99, 8)) if w.shape == (size, 8) else w for w in own]
  message = f'a vocabulary of 99, where Reformer.{parameter} is {size}'
  with pytest.raises(ReformerError, match=message):
    check_weights(model, other, 'runs/x')

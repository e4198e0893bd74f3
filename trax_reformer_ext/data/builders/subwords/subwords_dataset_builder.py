"""A user's own texts as sequences of sentencepiece tokens."""

import dataclasses

import gin
import numpy as np
import tensorflow_datasets as tfds

from trax_reformer_ext.data.builders import base, texts, token_builder
from trax_reformer_ext.data.builders.bytes_folder import (
  bytes_folder_dataset_builder,
)
from trax_reformer_ext.data.text_vocabulary import (
  MODEL,
  TextVocabulary,
  train_text_model,
)
from trax_reformer_ext.data.vocabulary import (
  UNKNOWN,
  check_parameters,
  model_name,
)
from trax_reformer_ext.errors import ReformerError

_GIN_NAME = 'train_text_vocabulary'
_MAX_BYTES = 10_000_000
_OF_VOCABULARY = (
  *('vocab_size', 'model_type', 'character_coverage'),
  'max_bytes',
)


# The name under which gin has the parameters says what they are for.
@gin.configurable(
  _GIN_NAME, module='trax_reformer_ext', allowlist=_OF_VOCABULARY
)
@dataclasses.dataclass(eq=False)
class SubwordsConfig(bytes_folder_dataset_builder.BytesFolderConfig):
  """Parameters of texts and of their vocabulary.

  Attributes:
    path: str, a folder, or one file.
    length: int, tokens in a sequence.
    vocab_size: int, number of ids.
    model_type: 'unigram' or 'bpe'.
    character_coverage: float in [0.98, 1], the share of the characters that get
      pieces of their own; what has none becomes unknown.
    max_bytes: int, learn pieces from as many bytes at most, in lines evenly
      spaced.
  """

  vocab_size: int = 8000
  model_type: str = 'unigram'
  character_coverage: float = 1.0
  max_bytes: int = _MAX_BYTES

  def __post_init__(self):
    super().__post_init__()
    size, kind = self.vocab_size, self.model_type
    coverage = self.character_coverage
    check_parameters(size, kind, coverage, _GIN_NAME)
    if type(self.max_bytes) is not int or self.max_bytes < 1:
      raise ReformerError(
        f'{_GIN_NAME}.max_bytes is {self.max_bytes!r}: give an int of at '
        'least 1'
      )
    self.vocabulary = model_name(size, kind, coverage)
    if self.max_bytes != _MAX_BYTES:
      self.vocabulary += f'_max{self.max_bytes}'
    self.name += f'_{self.vocabulary}'
    self.description = (
      f'Sequences of {self.length:,} tokens of {self.path}, vocabulary '
      f'{self.vocabulary}'
    )

  @property
  def parameters(self):
    """As of ParametersConfig, with the name of the vocabulary for its own."""
    parameters = {
      k: v for k, v in super().parameters.items() if k not in _OF_VOCABULARY
    }
    return {**parameters, 'vocabulary': self.vocabulary}


class Builder(base.SequenceBuilder):
  """Sequences of tokens of all files of a folder, one after the other.

  In the order of their posix paths; files are UTF-8, plain or packed as .gz or
  .xz:
    trax-reformer prepare subwords --path=my_texts \\
      --config='trax_reformer_ext.train_text_vocabulary.vocab_size=1000'

  The splits are 90/5/5 % of the bytes, each encoded on its own. Pieces are
  learned from the training split; the characters of the others have pieces
  too, where character_coverage is 1, so that nothing is unknown. The last
  sequence of a split is padded with 0.

  The folder holds the sentencepiece model; the info's metadata also `n_bytes`
  and `n_unknown` (tokens), of each split.
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'Initial release.'}
  CONFIG = SubwordsConfig

  def _sequence_length(self):
    return self.builder_config.length

  def _split_generators(self, dl_manager):
    del dl_manager  # the files are the user's own
    config = self.builder_config
    data, n_files = texts.read_texts(config.path)
    what = f'{config.path}: {len(data):,} bytes'
    parts = texts.split_text(data, what)
    model = train_text_model(
      parts['train'],
      set().union(*parts.values()),
      *(getattr(config, name) for name in _OF_VOCABULARY),
      _GIN_NAME,
    )
    path = self.data_path / MODEL
    path.write_bytes(model)
    vocabulary = TextVocabulary(path)
    ids = {split: vocabulary.encode(text) for split, text in parts.items()}
    self._describe(
      f'{what} in {n_files:,} files, vocabulary {config.vocabulary}'
    )
    count = lambda x: int(np.count_nonzero(x == UNKNOWN))
    self.info.metadata.update(
      vocab_size=vocabulary.size,
      n_bytes={split: len(text.encode()) for split, text in parts.items()},
      n_unknown={split: count(x) for split, x in ids.items()},
    )
    return {
      split: self._generate_examples(split, x) for split, x in ids.items()
    }

  def _generate_examples(self, split, ids):
    self.info.metadata['n_tokens'][split] = len(ids)
    length = self.builder_config.length
    read = lambda start, stop: ids[start:stop]
    yield from token_builder.examples(len(ids), length, read)

"""What all builders share: parameters, and examples in their order."""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from trax_reformer_ext.data import tokens
from trax_reformer_ext.data.builders import folders
from trax_reformer_ext.errors import ReformerError


@dataclasses.dataclass(eq=False)
class ParametersConfig(tfds.core.BuilderConfig):
  """A config whose further fields are the parameters of the data.

  Attributes:
    name: str, made of the parameters.
  """

  name: str = ''

  @property
  def parameters(self):
    """dict from the names of the parameters to their values."""
    return {name: getattr(self, name) for name in self.parameter_names()}

  @classmethod
  def parameter_names(cls):
    known = {f.name for f in dataclasses.fields(tfds.core.BuilderConfig)}
    return [f.name for f in dataclasses.fields(cls) if f.name not in known]

  @property
  def paths(self):
    """list of str, the user's own files or folders that the data is made of."""
    return []

  def fingerprint(self):
    """str that changes when the user's files do; None for published data."""
    return folders.fingerprint(*self.paths) if self.paths else None


class OrderedBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Writes examples in their order, from the parameters of its config.

  The info's metadata holds: `parameters` of the config, `description` (one
  line: which source, and whether it is a prefix) and `fingerprint`.
  """

  CONFIG = ParametersConfig

  def __init__(self, *, config=None, skip_broken=False, **kwargs):
    """Makes a builder.

    Args:
      config: as in TFDS; or else give the parameters of the config by name.
      skip_broken: bool, whether inputs that can't be decoded are left out, or
        else an error.
      **kwargs: parameters of the config, and what TFDS's builders take.

    Raises:
      ReformerError: a parameter that is not allowed.
    """
    names = self.CONFIG.parameter_names()
    parameters = {n: kwargs.pop(n) for n in names if n in kwargs}
    if parameters or not (config or self.builder_configs):
      config = self.CONFIG(**parameters)
    if isinstance(config, self.CONFIG):
      # TFDS wants its own object where there is one of this name.
      config = self.get_builder_config(config.name) or config
    self._skip_broken = skip_broken
    super().__init__(config=config, **kwargs)

  @classmethod
  def detect(cls, manual_dir):
    """Parameters that fit what lies in a folder, as a dict.

    Args:
      manual_dir: pathlib.Path.
    """
    del manual_dir
    return {}

  def _download_and_prepare(self, dl_manager, download_config):
    # Written in order; but whoever reads may shuffle, as Trax's data_streams
    # does, which TFDS forbids for data that calls itself ordered.
    self.info.as_proto.disable_shuffling = True
    super()._download_and_prepare(dl_manager, download_config)
    self.info.as_proto.disable_shuffling = False

  def _describe(self, description):
    self.info.metadata.update(
      parameters=self.builder_config.parameters,
      description=description,
      fingerprint=self.builder_config.fingerprint(),
    )


class SequenceBuilder(OrderedBuilder, skip_registration=True):
  """Writes records {'inputs': int32 [length]}, all of one size.

  The info's metadata also holds: `vocab_size`, `n_tokens` (of each split,
  without padding), `n_broken` (inputs that were left out) and `broken` (the
  names of the first 100 of them).
  """

  VOCAB_SIZE = None

  def _sequence_length(self):
    raise NotImplementedError

  def _info(self):
    inputs = tfds.features.Tensor(
      shape=(self._sequence_length(),),
      dtype=np.int32,
      encoding=tfds.features.Encoding.BYTES,
    )
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict({'inputs': inputs}),
      supervised_keys=('inputs', 'inputs'),
      metadata=tfds.core.MetadataDict(),
    )

  def _describe(self, description):
    super()._describe(description)
    self.info.metadata.update(
      vocab_size=self.VOCAB_SIZE, n_tokens={}, n_broken=0, broken=[]
    )


def manual_dir(dl_manager):
  """The folder of manual downloads, or None where it is missing or empty."""
  try:
    return dl_manager.manual_dir
  except AssertionError:
    return None


def split_borders(n, what, held_out=tokens.HELD_OUT):
  """Splits n things as tokens.split_borders, where no part becomes empty.

  Args:
    n: int, how many.
    what: str, for the error.
    held_out: tuple of str, the splits that are taken from the end.

  Returns:
    dict from 'train' and those of held_out to (start, stop).

  Raises:
    ReformerError: a part would be empty.
  """
  borders = tokens.split_borders(n, held_out)
  if any(start == stop for start, stop in borders.values()):
    shares = [str(100 - 5 * len(held_out)), *['5'] * len(held_out)]
    raise ReformerError(
      f'{what} is too little to split {"/".join(shares)}: give at least 20'
    )
  return borders


def ordered_key(i, n):
  """The key of record i of at most n, for records that keep their order.

  TFDS divides [0, 2^128) among its buckets and sorts one bucket at a time in
  memory: keys spread over it keep that memory small.
  """
  return (i << 128) // n

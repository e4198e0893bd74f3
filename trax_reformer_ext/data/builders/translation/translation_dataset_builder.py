"""A user's own parallel texts as pairs of sentences."""

import dataclasses
import itertools

import tensorflow_datasets as tfds

from trax_reformer_ext.data import tokens
from trax_reformer_ext.data.builders import base, folders, lines
from trax_reformer_ext.errors import ReformerError


@dataclasses.dataclass(eq=False)
class TranslationConfig(base.ParametersConfig):
  """Parameters of parallel texts.

  All are text files in UTF-8, gzipped if they end in .gz; line i of a target
  translates line i of its source.

  Attributes:
    source: str, to train on.
    target: str, to train on.
    validation_source: str; None for lines from the end of source.
    validation_target: str, as validation_source.
    test_source: str; None for the last lines of source.
    test_target: str, as test_source.
  """

  source: str = None
  target: str = None
  validation_source: str = None
  validation_target: str = None
  test_source: str = None
  test_target: str = None

  def __post_init__(self):
    for names in self._names().values():
      first, second = (getattr(self, name) for name in names)
      if bool(first) != bool(second) or not (first or names[0] != 'source'):
        given, missing = names if first else names[::-1]
        raise ReformerError(
          f'{missing} is {getattr(self, missing)!r} and {given} '
          f'{getattr(self, given)!r}: give two files, line i of the one '
          'translating line i of the other'
        )
    for name in self.parameter_names():
      setattr(self, name, folders.absolute(getattr(self, name)))
    # With '' for None: the same files in another role are other data.
    self.name = folders.label(
      *(path or '' for path in self.parameters.values())
    )
    self.description = f'Pairs of lines of {self.source} and {self.target}'

  @property
  def paths(self):
    return [path for path in self.parameters.values() if path]

  def files(self):
    """dict from the splits that have files to pairs of (parameter, path)."""
    return {
      split: [(name, getattr(self, name)) for name in names]
      for split, names in self._names().items()
      if getattr(self, names[0])
    }

  @staticmethod
  def _names():
    return {
      'train': ('source', 'target'),
      'validation': ('validation_source', 'validation_target'),
      'test': ('test_source', 'test_target'),
    }


class Builder(base.OrderedBuilder):
  """Pairs of sentences of parallel files, in their order.

  Validation and test are files of their own, or else 5 % each from the end.
    trax-reformer prepare translation --source=train.en --target=train.de
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'Initial release.'}
  CONFIG = TranslationConfig

  def __init__(self, *, file_format='array_record', **kwargs):
    """Makes a builder, of a format with random access; see OrderedBuilder."""
    super().__init__(file_format=file_format, **kwargs)

  def _info(self):
    text = tfds.features.Text
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict({'source': text(), 'target': text()}),
      supervised_keys=('source', 'target'),
      metadata=tfds.core.MetadataDict(),
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # the files are the user's own
    config = self.builder_config
    files = config.files()
    n_lines = {s: lines.count_pairs(*pair) for s, pair in files.items()}
    held_out = tuple(s for s in tokens.HELD_OUT if s not in files)
    what = f'{config.source}: {n_lines["train"]:,} lines'
    parts = {
      split: (files['train'], *border)
      for split, border in base.split_borders(
        n_lines['train'], what, held_out
      ).items()
    }
    for split in files.keys() - {'train'}:
      parts[split] = (files[split], 0, n_lines[split])
    self._describe(f'{config.source} and {config.target}')
    return {
      split: self._generate_examples(*parts[split])
      for split in ('train', *tokens.HELD_OUT)
    }

  def _generate_examples(self, files, start, stop):
    pairs = zip(*(lines.read_lines(*file) for file in files), strict=True)
    for i, (source, target) in enumerate(itertools.islice(pairs, start, stop)):
      key = base.ordered_key(i, stop - start)
      yield key, {'source': source, 'target': target}

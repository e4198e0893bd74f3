"""TFDS builders: importing this registers them."""

from trax_reformer_ext.data.builders.bytes_folder import (
  bytes_folder_dataset_builder,
)
from trax_reformer_ext.data.builders.enwik8 import enwik8_dataset_builder
from trax_reformer_ext.data.builders.image_folder import (
  image_folder_dataset_builder,
)
from trax_reformer_ext.data.builders.imagenet64 import (
  imagenet64_dataset_builder,
)
from trax_reformer_ext.data.builders.subwords import (
  subwords_dataset_builder,
)
from trax_reformer_ext.data.builders.translation import (
  translation_dataset_builder,
)

BUILDERS = {
  module.Builder.name: module.Builder
  for module in (
    bytes_folder_dataset_builder,
    enwik8_dataset_builder,
    image_folder_dataset_builder,
    imagenet64_dataset_builder,
    subwords_dataset_builder,
    translation_dataset_builder,
  )
}

__all__ = ['BUILDERS']

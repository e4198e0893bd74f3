"""TFDS's own tests of a builder, each on small fake data."""

import hashlib
import zipfile
from unittest import mock

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle

from tests.data.builders import fake
from trax_reformer_ext import ReformerError
from trax_reformer_ext.data import sources
from trax_reformer_ext.data.builders import BUILDERS
from trax_reformer_ext.data.records import Records
from trax_reformer_ext.data.text_vocabulary import MODEL, TextVocabulary

LENGTH = 100


class _Case(tfds.testing.DatasetBuilderTestCase):
  """Makes the fake data of a class before its tests."""

  @classmethod
  def setUpClass(cls):
    cls.EXAMPLE_DIR = fake.folder()
    cls.make_data(cls.EXAMPLE_DIR)
    super().setUpClass()

  def _prepared(self, **parameters):
    builder = self.dataset_class(data_dir=self.tmp_dir, **parameters)
    builder.download_and_prepare(
      download_config=tfds.download.DownloadConfig(manual_dir=self.EXAMPLE_DIR)
    )
    return builder

  def _ids(self, builder):
    """All ids of all splits in order, without padding."""
    parts = []
    for split, n_tokens in builder.info.metadata['n_tokens'].items():
      dataset = tfds.as_numpy(builder.as_dataset(split=split))
      ids = np.concatenate([example['inputs'] for example in dataset])
      assert ids.dtype == np.int32 and not ids[n_tokens:].any()
      parts.append(ids[:n_tokens])
    return np.concatenate(parts)


class Enwik8PrefixTest(_Case):
  DATASET_CLASS = BUILDERS['enwik8']
  BUILDER_CONFIG_NAMES_TO_TEST = [
    BUILDERS['enwik8'].CONFIG(length=LENGTH, prefix=True)
  ]
  SPLITS = {'train': 90, 'validation': 5, 'test': 5}

  @classmethod
  def make_data(cls, folder):
    (folder / 'enwik8').write_bytes(fake.text(10_000))

  def test_ids_are_the_bytes_in_order(self):
    builder = self._prepared(length=999, prefix=True)
    ids = self._ids(builder)
    assert ids.min() >= 2 and ids.max() < 258
    data = (ids - 2).astype(np.uint8).tobytes()
    assert data == fake.text(10_000)
    metadata = builder.info.metadata
    assert metadata['n_tokens'] == {
      'train': 9000,
      'validation': 500,
      'test': 500,
    }
    assert metadata['vocab_size'] == 258
    assert 'a PREFIX of the 100,000,000' in metadata['description']
    assert 'enwik8/prefix_length999/1.0.0' in str(builder.data_path)

  def test_a_prefix_is_not_taken_for_the_whole(self):
    with self.assertRaisesRegex(
      ReformerError, 'only a prefix of enwik8.* use enwik8/prefix_length100'
    ):
      self._prepared(length=100)

  def test_lengths_below_one_are_refused(self):
    with self.assertRaisesRegex(ReformerError, 'length is 0: give an int'):
      self.dataset_class(length=0)


class Enwik8Test(_Case):
  """The whole, downloaded."""

  DATASET_CLASS = BUILDERS['enwik8']
  BUILDER_CONFIG_NAMES_TO_TEST = ['length65536']
  SPLITS = {'train': 2, 'validation': 1, 'test': 1}
  DL_DOWNLOAD_RESULT = 'downloaded.zip'
  DATA = fake.text(140_000)

  @classmethod
  def make_data(cls, folder):
    with zipfile.ZipFile(folder / 'downloaded.zip', 'w') as archive:
      archive.writestr('enwik8', cls.DATA)

  def setUp(self):
    super().setUp()
    sha1 = hashlib.sha1(self.DATA).hexdigest()
    for name, value in (('BYTES', len(self.DATA)), ('SHA1', sha1)):
      patcher = mock.patch.object(sources, f'_ENWIK8_{name}', value)
      patcher.start()
      self.addCleanup(patcher.stop)


class BytesFolderTest(_Case):
  DATASET_CLASS = BUILDERS['bytes_folder']
  SPLITS = {'train': 27, 'validation': 2, 'test': 2}

  @classmethod
  def make_data(cls, folder):
    (folder / 'b').mkdir()
    (folder / 'b' / 'c.bin').write_bytes(fake.text(1500, 1))
    (folder / 'b.txt').write_bytes(fake.text(1000, 2))
    (folder / 'a.txt').write_bytes(b'')
    (folder / 'z.txt').write_bytes(fake.text(500, 3))

  def _make_builder(self, config=None):
    del config
    return self.dataset_class(
      data_dir=self.tmp_dir, path=self.EXAMPLE_DIR, length=LENGTH
    )

  def test_files_are_joined_in_the_order_of_their_paths(self):
    builder = self._prepared(path=self.EXAMPLE_DIR, length=70)
    data = (self._ids(builder) - 2).astype(np.uint8).tobytes()
    assert data == b''.join(
      [fake.text(1000, 2), fake.text(1500, 1), fake.text(500, 3)]
    )

  def test_one_file(self):
    path = self.EXAMPLE_DIR / 'z.txt'
    builder = self._prepared(path=path, length=70)
    data = (self._ids(builder) - 2).astype(np.uint8).tobytes()
    assert data == path.read_bytes()


class SubwordsTest(_Case):
  """A vocabulary of no more than the characters, so that tokens are these."""

  DATASET_CLASS = BUILDERS['subwords']
  SPLITS = {'train': 27, 'validation': 2, 'test': 2}
  TEXT = ''.join(f'  {i:05}\t\r\n' for i in range(300))

  @classmethod
  def make_data(cls, folder):
    (folder / 'a').write_text(cls.TEXT[:1000], newline='')
    (folder / 'b').write_text(cls.TEXT[1000:], newline='')

  def _make_builder(self, config=None):
    del config
    return self.dataset_class(data_dir=self.tmp_dir, **self._parameters())

  def _parameters(self, length=LENGTH):
    characters = {*self.TEXT} - {'\n', '\t'}
    size = 5 + len(characters)
    return dict(path=self.EXAMPLE_DIR, length=length, vocab_size=size)

  def test_ids_are_the_text(self):
    builder = self._prepared(**self._parameters(70))
    vocabulary = TextVocabulary(builder.data_path / MODEL)
    self.assertEqual(vocabulary.decode(self._ids(builder)), self.TEXT)
    metadata = builder.info.metadata
    self.assertEqual(metadata['n_tokens'], metadata['n_bytes'])
    self.assertEqual(metadata['vocab_size'], vocabulary.size)
    parameters = {'length': 70, 'path': str(self.EXAMPLE_DIR)}
    name = f'unigram{vocabulary.size}'
    self.assertEqual(metadata['parameters'], {**parameters, 'vocabulary': name})


class ImageFolderTest(_Case):
  DATASET_CLASS = BUILDERS['image_folder']
  SPLITS = {'train': 18, 'validation': 1, 'test': 1}
  IMAGES = fake.images(20)

  @classmethod
  def make_data(cls, folder):
    fake.write_png_folder(folder / 'images', cls.IMAGES)
    (folder / 'images' / 'notes.txt').write_text('not an image')

  def _make_builder(self, config=None):
    del config
    return self.dataset_class(
      data_dir=self.tmp_dir, path=self.EXAMPLE_DIR / 'images'
    )

  def test_ids_are_the_pixels(self):
    builder = self._prepared(path=self.EXAMPLE_DIR / 'images')
    pixels = self._ids(builder).reshape(-1, 64, 64, 3)
    np.testing.assert_array_equal(pixels, self.IMAGES)
    assert builder.info.metadata['vocab_size'] == 256

  def test_larger_images_are_cropped_and_box_resized(self):
    large = fake.images(20, 128, 140)
    path = self.EXAMPLE_DIR / 'large'
    if not path.exists():
      fake.write_png_folder(path, large)
    pixels = self._ids(self._prepared(path=path)).reshape(-1, 64, 64, 3)
    centre = large[:, :, 6:134].reshape(20, 64, 2, 64, 2, 3)
    assert np.abs(pixels - centre.mean(axis=(2, 4))).max() <= 1


class _ImageNetCase(_Case):
  DATASET_CLASS = BUILDERS['imagenet64']
  SPLITS = {'train': 12, 'validation': 3}
  TRAIN, VALIDATION = fake.images(12, seed=1), fake.images(3, seed=2)

  def check_pixels(self, source):
    builder = self._prepared(source=source)
    pixels = self._ids(builder).reshape(-1, 64, 64, 3)
    np.testing.assert_array_equal(
      pixels, np.concatenate([self.TRAIN, self.VALIDATION])
    )
    return builder.info.metadata['description']


class ImageNet64PngTest(_ImageNetCase):
  BUILDER_CONFIG_NAMES_TO_TEST = ['png']

  @classmethod
  def make_data(cls, folder):
    fake.write_png_tars(folder, cls.TRAIN, cls.VALIDATION)

  def test_ids_are_the_pixels(self):
    assert "from the paper's PNGs" in self.check_pixels('png')


class ImageNet64NpzTest(_ImageNetCase):
  BUILDER_CONFIG_NAMES_TO_TEST = ['npz']

  @classmethod
  def make_data(cls, folder):
    fake.write_npz_zips(folder, cls.TRAIN, cls.VALIDATION)

  def test_ids_are_the_pixels(self):
    assert 'from the npz archives' in self.check_pixels('npz')


class ImageNet64ImagesTest(_Case):
  DATASET_CLASS = BUILDERS['imagenet64']
  BUILDER_CONFIG_NAMES_TO_TEST = ['images']
  SPLITS = {'train': 18, 'validation': 1, 'test': 1}

  @classmethod
  def make_data(cls, folder):
    np.savez(folder / 'imagenet64_some.npz', images=fake.images(20))

  def test_unknown_source(self):
    with self.assertRaisesRegex(ReformerError, "source is 'jpg': give one of"):
      self.dataset_class(source='jpg')


# They are only bases.
del _Case, _ImageNetCase


def test_records_keep_their_order_when_they_do_not_fit_into_memory(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(shuffle, 'MAX_MEM_BUFFER_SIZE', 10_000)
  (tmp_path / 'text').write_bytes(fake.text(100_000))
  builder = BUILDERS['bytes_folder'](
    data_dir=tmp_path / 'data', path=tmp_path / 'text', length=70
  )
  builder.download_and_prepare()
  records = Records(builder.info, 'train')
  ids = np.concatenate([records[i] for i in range(len(records))])
  data = (ids[: records.n_tokens] - 2).astype(np.uint8).tobytes()
  assert data == fake.text(100_000)[:90_000]

"""Completing images by the trax-reformer command."""

import numpy as np
import pytest
from PIL import Image

from tests.test_cli import assert_mistake, bind, call, small_source
from trax_reformer_ext import cli


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """The folder of a tiny run on images."""
  folder = tmp_path_factory.mktemp('images')
  source = small_source('imagenet64', folder)
  data_dir = f'--data_dir={folder / "data"}'
  manual_dir = f'--manual_dir={source}'
  assert cli.main(['prepare', 'imagenet64', data_dir, manual_dir]) == 0
  code = cli.main(
    [
      'train',
      '--config_file=reformer_imagenet64',
      '--config_file=tiny',
      data_dir,
      f'--output_dir={folder / "run"}',
      *bind('train.steps = 1', 'trax_reformer_ext.report.n_batches = 1'),
    ]
  )
  assert code == 0
  return folder / 'run'


@pytest.fixture
def photo(tmp_path):
  pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
  Image.fromarray(pixels).save(tmp_path / 'photo.png')
  return tmp_path / 'photo.png', pixels


def generate(capsys, folder, *arguments):
  return call(capsys, 'generate', f'--output_dir={folder}', *arguments)


def test_completes_the_lower_rows(run, photo, tmp_path, capsys):
  path, pixels = photo
  out = tmp_path / 'out.png'
  options = f'--image={path}', '--keep_rows=62', '--n_samples=2'
  code, said, err = generate(capsys, run, *options, f'--output_file={out}')
  assert (code, said, err) == (0, f'Picture: {out}\n', '')
  # Original, what is kept, two samples; gaps of 4 pixels, all twice as large.
  picture = np.asarray(Image.open(out))[::2, ::2]
  assert picture.shape == (72, 4 * 68 + 4, 3)
  original, kept, *samples = (
    picture[4:68, 68 * i + 4 : 68 * i + 68] for i in range(4)
  )
  np.testing.assert_array_equal(original, pixels)
  np.testing.assert_array_equal(kept[:62], pixels[:62])
  assert (kept[62:] == 128).all()
  for sample in samples:
    np.testing.assert_array_equal(sample[:62], pixels[:62])
    assert (sample[62:] != pixels[62:]).any()
  assert (samples[0] != samples[1]).any()


def test_another_size_is_cut_and_resized(run, tmp_path, capsys):
  Image.new('RGB', (130, 100), (9, 8, 7)).save(tmp_path / 'wide.png')
  out = tmp_path / 'out.png'
  code, said, _ = generate(
    capsys,
    run,
    f'--image={tmp_path / "wide.png"}',
    '--keep_rows=64',
    '--n_samples=1',
    f'--output_file={out}',
  )
  assert code == 0
  assert 'wide.png: 130x100, cut and resized to 64x64' in said
  picture = np.asarray(Image.open(out))[::2, ::2]
  assert (picture[4:68, -68:-4] == (9, 8, 7)).all()


@pytest.mark.parametrize(
  'arguments,message',
  [
    (['--keep_rows=65'], 'keep_rows is 65: give an int from 0 to 64'),
    (['--keep_rows=-1'], 'keep_rows is -1'),
    (['--n_samples=0'], 'n_samples is 0'),
    (['--image=/nowhere.png'], "--image is '/nowhere.png', which cannot be"),
    ([f'--image={__file__}'], 'which is no image that can be used'),
    (['--temperature=-1'], 'temperature is -1.0'),
    (['--output_file=-'], "--output_file is '-': images are written to a file"),
    (['--output_file=/nowhere/x.png'], "--output_file is '/nowhere/x.png'"),
  ],
)
def test_mistakes(arguments, message, run, tmp_path, capsys):
  out = tmp_path / 'out.png'
  result = generate(capsys, run, f'--output_file={out}', *arguments)
  assert_mistake(result, message)
  assert not out.exists()

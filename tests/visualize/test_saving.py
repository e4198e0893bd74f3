import numpy as np
import pytest
from PIL import Image

from tests.visualize.test_angular import pairs
from trax_reformer_ext import ReformerError
from trax_reformer_ext.visualize import (
  animate_angular_lsh,
  plot_angular_lsh,
  save_picture,
)


def test_a_figure_becomes_a_png_as_wide_as_a_readme(tmp_path):
  path = tmp_path / 'x.png'
  path.write_text('an old one')
  save_picture(path, plot_angular_lsh(*pairs()))
  image = Image.open(path)
  assert image.format == 'PNG' and 800 <= image.width <= 1000
  assert image.convert('RGB').getpixel((0, 0)) == (255, 255, 255)
  assert path.stat().st_size < 150_000
  assert [p.name for p in tmp_path.iterdir()] == ['x.png']


def test_an_animation_becomes_a_gif_that_goes_on_for_ever(tmp_path):
  path = tmp_path / 'x.GIF'
  save_picture(str(path), animate_angular_lsh(*pairs()))
  image = Image.open(path)
  assert image.format == 'GIF' and image.n_frames > 20
  assert image.info['loop'] == 0
  first = np.asarray(image.convert('RGB'))
  image.seek(image.n_frames - 1)
  last = np.asarray(image.convert('RGB'))
  assert (first[0, 0] == 255).all() and (last[0, 0] == 255).all()
  assert (first != last).any()
  assert path.stat().st_size < 150_000


def test_a_name_that_is_no_pictures(tmp_path):
  with pytest.raises(ReformerError, match='give a name that ends in .png'):
    save_picture(tmp_path / 'x.gif', plot_angular_lsh(*pairs()))
  animation = animate_angular_lsh(*pairs())
  animation._draw_was_started = True  # or it warns that it was not drawn
  with pytest.raises(ReformerError, match='give a name that ends in .gif'):
    save_picture(tmp_path / 'x.png', animation)
  assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path):
  with pytest.raises(ReformerError, match='x.png.*cannot be written .No such'):
    save_picture(tmp_path / 'nowhere' / 'x.png', plot_angular_lsh(*pairs()))

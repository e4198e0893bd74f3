"""Scalars, texts and images for TensorBoard."""

import numpy as np
import tensorflow as tf


class SummaryWriter:
  """What Trax's Loop asks of a writer, by tf.summary."""

  def __init__(self, folder):
    self._writer = tf.summary.create_file_writer(folder)

  def scalar(self, tag, value, step):
    """Writes a number."""
    with self._writer.as_default():
      tf.summary.scalar(tag, float(value), step=step)

  def image(self, tag, value, step):
    """Writes an image [height, width, channels]."""
    with self._writer.as_default():
      tf.summary.image(tag, np.asarray(value)[None], step=step)

  def text(self, tag, value, step=0):
    """Writes a text, in Markdown."""
    with self._writer.as_default():
      tf.summary.text(tag, value, step=step)

  def flush(self):
    """Writes what has been gathered."""
    self._writer.flush()

  def close(self):
    """Ends the file."""
    self._writer.close()

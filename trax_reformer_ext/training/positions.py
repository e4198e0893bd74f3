"""Where a run is in its data."""

from trax.data import inputs as trax_inputs


class CountedStream:
  """An iterator that counts its batches and can go on at any of them.

  Attributes:
    n_batches: int, batches so far, of all runs that went on from one another.
    batch: the last one.
  """

  def __init__(self, stream, check):
    """Starts at the first batch.

    Args:
      stream: iterator of batches; one with seek(number) starts at 0 again, of
        another one what has been read is gone.
      check: function of a batch, called with each.
    """
    self._stream, self._check = stream, check
    self.n_batches, self.batch = 0, None
    if hasattr(stream, 'seek'):
      stream.seek(0)

  def __iter__(self):
    return self

  def __next__(self):
    batch = next(self._stream)
    self._check(batch)
    self.n_batches += 1
    self.batch = batch
    return batch

  def go_on_at(self, number):
    """Makes the batch of this number the next one.

    A stream without seek is read up to it, unless Trax's own counting step
    does that.
    """
    if hasattr(self._stream, 'seek'):
      self._stream.seek(number)
    elif not trax_inputs.data_counters:
      for _ in range(number - self.n_batches):
        next(self._stream)
    self.n_batches = number

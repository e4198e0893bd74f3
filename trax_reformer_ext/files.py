"""Files that are seen when they are complete."""

import contextlib
import os


@contextlib.contextmanager
def written_beside(path):
  """Gives a path to write to, which is renamed to the wanted one at the end.

  Nothing is left of a file whose writing fails.

  Args:
    path: str, the wanted one; an old file is replaced.

  Yields:
    str.
  """
  part = f'{path}.part'
  try:
    yield part
    os.replace(part, path)
  except BaseException:
    with contextlib.suppress(OSError):
      os.remove(part)
    raise

"""Lines of text files, plain or gzipped."""

from trax_reformer_ext.data.builders import packed
from trax_reformer_ext.errors import ReformerError


def read_lines(name, path):
  """Yields the lines of a file, without their ends.

  Only '\\n' or '\\r\\n' ends a line, whatever else Unicode calls a line
  separator, so that two files stay aligned.

  Args:
    name: str, the parameter that the path is the value of.
    path: str, a file in UTF-8; gzipped if it ends in .gz.

  Yields:
    str.

  Raises:
    ReformerError: the file is missing, damaged or not UTF-8.
  """
  number = 0
  try:
    with packed.opened(name, path, ('.gz',), ': give a text file') as f:
      for number, line in enumerate(f, start=1):  # noqa: B007
        yield line.removesuffix(b'\n').removesuffix(b'\r').decode()
  except UnicodeDecodeError as e:
    raise ReformerError(
      f'{name} {path} is not UTF-8 at line {number} ({e.reason}, byte '
      f'0x{e.object[e.start]:02x}): convert it'
    ) from e


def count_pairs(source, target):
  """How many lines two files have, which must be as many.

  Args:
    source: (name, path), as of read_lines.
    target: the same.

  Returns:
    int, at least 1.

  Raises:
    ReformerError: as read_lines, or the files don't fit.
  """
  counts = [sum(1 for _ in read_lines(*file)) for file in (source, target)]
  (name, path), (other_name, other_path) = source, target
  if counts[0] != counts[1]:
    raise ReformerError(
      f'{name} {path} has {counts[0]:,} lines, but {other_name} {other_path} '
      f'{counts[1]:,}: line i of the one must translate line i of the other'
    )
  if not counts[0]:
    raise ReformerError(
      f'{name} {path} and {other_name} {other_path} are empty: give sentences, '
      'one a line'
    )
  return counts[0]

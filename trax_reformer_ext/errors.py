"""The one exception that stands for a user's mistake."""


class ReformerError(ValueError):
  """A mistake in a configuration, a file or the data, said in one line.

  The message names the parameter, its value and what would do. The command
  line prints it alone and exits with code 1; every other exception is a fault
  of the program and keeps its traceback.
  """

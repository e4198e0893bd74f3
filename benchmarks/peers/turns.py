"""The side of a measured process, for Python's standard library alone."""

import json
import os
import resource
import sys


def serve(prepare):
  """Measures once for every line of standard input.

  Args:
    prepare: function of the options (the dict that is the first argument of
      the command); compiles and warms up, and returns (str about the peer,
      function of keyword arguments, those of the request, that returns a dict
      of figures).
  """
  # Libraries print what they like; answers alone go to standard output.
  answers = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)
  about, measure = prepare(json.loads(sys.argv[1]))
  print(json.dumps(dict(about=about)), file=answers, flush=True)
  for request in sys.stdin:
    figures = measure(**json.loads(request))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer = dict(figures, memory=memory)
    print(json.dumps(answer), file=answers, flush=True)

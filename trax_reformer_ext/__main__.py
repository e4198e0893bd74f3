"""python -m trax_reformer_ext: the trax-reformer command."""

import sys

from trax_reformer_ext.cli import main

if __name__ == '__main__':
  sys.exit(main())

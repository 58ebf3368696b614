"""``python -m godb_fast`` is ``godb-fast``."""

import sys

from godb_fast.cli import main

if __name__ == "__main__":
    sys.exit(main())

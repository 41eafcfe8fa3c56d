"""`python -m cmdop.cli`."""

import sys

from cmdop.cli.app import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m loco.cli`, the same as `loco`."""

import sys

from loco.cli import main

if __name__ == "__main__":
    sys.exit(main())

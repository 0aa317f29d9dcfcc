"""The same as `loco extract`."""

import sys

from loco.cli import main

if __name__ == "__main__":
    sys.exit(main(["extract", *sys.argv[1:]]))

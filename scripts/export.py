"""The same as `loco export`."""

import sys

from loco.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))

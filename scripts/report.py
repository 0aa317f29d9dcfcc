"""The same as `loco report`."""

import sys

from loco.cli import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))

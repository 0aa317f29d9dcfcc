"""The same as `loco score`."""

import sys

from loco.cli import main

if __name__ == "__main__":
    sys.exit(main(["score", *sys.argv[1:]]))

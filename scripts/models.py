"""The same as `loco models`."""

import sys

from loco.cli import main

if __name__ == "__main__":
    sys.exit(main(["models", *sys.argv[1:]]))

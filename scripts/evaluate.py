"""The same as `loco evaluate`."""

import sys

from loco.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))

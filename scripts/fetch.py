"""The same as `loco fetch`."""

import sys

from loco.cli import main

if __name__ == "__main__":
    sys.exit(main(["fetch", *sys.argv[1:]]))

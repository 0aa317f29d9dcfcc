"""The same as `loco search`."""

import sys

from loco.cli import main

if __name__ == "__main__":
    sys.exit(main(["search", *sys.argv[1:]]))

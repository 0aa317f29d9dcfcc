"""The same as `loco convert`."""

import sys

from loco.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))

"""The same as `loco dashboard`."""

import sys

from loco.cli import main

if __name__ == "__main__":
    sys.exit(main(["dashboard", *sys.argv[1:]]))

"""The same as `loco make-synthetic`."""

import sys

from loco.cli import main

if __name__ == "__main__":
    sys.exit(main(["make-synthetic", *sys.argv[1:]]))

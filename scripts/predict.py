"""The same as `loco predict`."""

import sys

from loco.cli import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))

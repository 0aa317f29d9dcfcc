"""The same as `loco make-videos`."""

import sys

from loco.cli import main

if __name__ == "__main__":
    sys.exit(main(["make-videos", *sys.argv[1:]]))

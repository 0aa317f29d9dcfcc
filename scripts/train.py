"""The same as `loco train`."""

import sys

from loco.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))

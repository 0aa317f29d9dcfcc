"""The same as `loco describe`."""

import sys

from loco.cli import main

if __name__ == "__main__":
    sys.exit(main(["describe", *sys.argv[1:]]))

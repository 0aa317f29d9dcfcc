"""The same as `loco figure`."""

import sys

from loco.cli import main

if __name__ == "__main__":
    sys.exit(main(["figure", *sys.argv[1:]]))

"""The same as `loco tabulate`."""

import sys

from loco.cli import main

if __name__ != "__main__":
    # The folder of a running script is searched for modules, and torch tries to import a package
    # `tabulate`: this is not it.
    raise ImportError("scripts/tabulate.py is a script")

sys.exit(main(["tabulate", *sys.argv[1:]]))

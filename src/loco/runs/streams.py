"""What a process prints, on terminals and in files that cannot show every letter."""

from __future__ import annotations

import io
import sys


def replace_unshowable() -> None:
    """Print `?` for what a stream's encoding has not got, rather than ending in an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")

"""What a process prints, on terminals and in files that cannot show every letter."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def replace_unshowable() -> None:
    """Print `?` for what a stream's encoding has not got, rather than ending in an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def console(**settings: Any) -> Console:
    """Where tables are printed: what stands in them is data, so `[red]` is no colour."""
    from rich.console import Console  # here: `--help` needs none

    return Console(**{"markup": False, "emoji": False, "highlight": False} | settings)

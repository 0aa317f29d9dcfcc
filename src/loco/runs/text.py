"""Names as text: what a process prints, and what files of text can hold."""

from __future__ import annotations

import io
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


_UNSHOWABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def shown(text: str) -> str:
    """A name as any page or file of text can hold it: control characters become `�`.

    Tabs and line feeds stay. What is left is allowed in XML and can be encoded.
    """
    return _UNSHOWABLE.sub("�", text)


def one_line(text: str) -> str:
    """The same without line breaks and tabs, and with single blanks."""
    return " ".join(shown(" ".join(text.split())).split())


def replace_unshowable() -> None:
    """Print `?` for what a stream's encoding has not got, rather than ending in an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def console(**settings: Any) -> Console:
    """Where tables are printed: what stands in them is data, so `[red]` is no colour."""
    from rich.console import Console  # here: `--help` needs none

    return Console(**{"markup": False, "emoji": False, "highlight": False} | settings)

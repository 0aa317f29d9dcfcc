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


def csv_cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula: what begins like one gets a `'` in front.

    So does what begins with such a `'` already, so that one can always be taken off again. Ids
    such as `-0nqfRcnAYE`, letters and digits behind a sign, stay: they can call nothing.
    """
    if re.fullmatch(r"[-+][\w.-]*", text) or not re.match(r"'*[=+\-@＝＋－＠\t\r\n]", text):
        return text
    return f"'{text}"


def csv_text_of(cell: str) -> str:
    """The text that `csv_cell` made a cell of."""
    return cell[1:] if cell.startswith("'") and csv_cell(cell[1:]) == cell else cell


def replace_unshowable() -> None:
    """Print `?` for what a stream's encoding has not got, rather than ending in an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def console(**settings: Any) -> Console:
    """Where tables are printed: what stands in them is data, so `[red]` is no colour."""
    from rich.console import Console  # here: `--help` needs none

    return Console(**{"markup": False, "emoji": False, "highlight": False} | settings)

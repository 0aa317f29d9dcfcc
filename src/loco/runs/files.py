"""Files are replaced whole or not at all; what cannot be written is told in a line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from loco.errors import OutputError

MAX_NAME_BYTES = 250
"""Of a file's name: file systems allow 255, of which an unfinished one's ending takes five."""


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A file to write beside `path`, which takes its place at the end.

    Raises:
        OutputError: it cannot be written, such as on a full disk; what stood there stays.
    """
    path = Path(path)
    unfinished = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8, see `replacing`."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")

"""Files are replaced whole or not at all, what cannot be written or read is told in a line; CSV
cells; the look at a large file by which another one is told from it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loco.errors import LocoError, OutputError

MAX_NAME_BYTES = 250
"""Of a file's name: file systems allow 255, of which an unfinished one's ending takes five."""


@contextlib.contextmanager
def replacing(path: str | Path, shared: bool = False) -> Iterator[Path]:
    """A file to write beside `path`, on the same file system, which takes its place at the end.

    It is on the disk by then, so that a machine that stops leaves the old one or the new one. What
    a killed process left is written over by the next.

    Args:
        path: of the file; its folder is made.
        shared: several processes may write it at once.

    Raises:
        OutputError: it cannot be written, such as on a full disk; what stood there stays.
    """
    path = Path(path)
    unfinished = path.with_name(path.name + (f".{os.getpid()}.part" if shared else ".part"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        with unfinished.open("r+b") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def write_text(path: str | Path, text: str, shared: bool = False) -> None:
    """Write UTF-8, see `replacing`."""
    with replacing(path, shared) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def read_json(path: str | Path, error_of: type[LocoError] = LocoError) -> Any:
    """What a file holds that the suite wrote itself (`loco.data.checked_json`: that people did).

    Args:
        path: of the file.
        error_of: what is raised.

    Raises:
        LocoError: it is not there, cannot be read, or is no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise error_of(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise error_of(f"{path}: expected JSON, got: {error}") from None


def read_yaml(path: Path) -> Any:
    """A file of YAML as a `DictConfig` or a `ListConfig`, with its interpolations as they stand.

    Raises:
        LocoError: it cannot be read, or holds neither.
    """
    import yaml  # here: `--help` needs neither
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.load(path)
    except OSError as error:
        raise LocoError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (
        ValueError, AssertionError, RecursionError, yaml.YAMLError, OmegaConfBaseException,
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split()) or "expected settings or a list"
        raise LocoError(f"{path}: cannot be read: {reason}") from None


def sampled_sha256(path: str | Path) -> str:
    """SHA-256 of a file's size and of 4 KiB at each of up to 33 places, its ends among them.

    It tells one film from another of the same size without reading either.
    """
    piece, places = 4096, 32
    with Path(path).open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256(str(size).encode())
        for place in sorted({max(size - piece, 0) * i // places for i in range(places + 1)}):
            file.seek(place)
            digest.update(file.read(piece))
    return digest.hexdigest()


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

"""What an .npy file holds, by its header alone, or what is wrong with it."""

from __future__ import annotations

import io
import os
import stat
import threading
import unicodedata
from functools import lru_cache
from pathlib import Path
from tokenize import TokenError
from typing import NamedTuple

import numpy as np

DTYPES = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))
"""What files may hold, in any byte order; float64 is read as float32."""
UNREADABLE = (
    OSError, ValueError, TypeError, SyntaxError, EOFError, TokenError, RecursionError,
    OverflowError,
)  # fmt: skip
"""What numpy raises for a damaged file, whose header it parses as Python."""
_HEAD_BYTES = 128  # what numpy writes for an ordinary 2-D array; longer headers are read again
# CPython 3.11 counts how deep its parser is for all threads together, and numpy parses headers with
# it: two threads at a time could end in a SystemError, "AST constructor recursion depth mismatch"
_PARSING = threading.Lock()


class Header(NamedTuple):
    """What a file says of its array."""

    steps: int
    channels: int
    dtype: np.dtype


def read_header(path: Path) -> Header | str:
    """What an .npy file says it holds, or what is wrong with the file."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            return "a pipe or a device, expected a file"  # reading could wait without end
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(_HEAD_BYTES)
            header = _parse_header(head)
            if header is None and len(head) == _HEAD_BYTES:
                header = _parse_header.__wrapped__(head + file.read(1 << 17))  # not cached
    except FileNotFoundError:
        return "missing" + _other_form(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if size == 0:
        return "empty, 0 bytes"
    if header is None:
        return "not an .npy file"
    shape, dtype, offset = header
    if dtype.hasobject:
        return "holds pickled Python objects, expected float16 or float32 numbers"
    if dtype.newbyteorder("=") not in DTYPES:
        return f"dtype {dtype}, expected float16 or float32"
    if len(shape) != 2:
        return f"shape {shape}, expected 2 dimensions (steps, channels)"
    if 0 in shape:
        return f"shape {shape}, expected at least one step and one channel"
    expected = offset + shape[0] * shape[1] * dtype.itemsize
    if size < expected:
        return f"truncated, {size} of {expected} bytes"
    return Header(shape[0], shape[1], dtype)


def _other_form(path: Path) -> str:
    """What a message says of a missing file whose name is there in another Unicode form."""
    if path.name.isascii():
        return ""
    wanted = unicodedata.normalize("NFC", path.name)
    for name in _names(path.parent):
        if unicodedata.normalize("NFC", name) == wanted:
            form = "NFC" if name == wanted else "NFD"
            return (
                f"; a file of that name is there in another Unicode form ({form}), as some systems "
                "and archives write it: rename the files, or the id in the annotations"
            )
    return ""


@lru_cache(maxsize=8)
def _names(folder: Path) -> tuple[str, ...]:
    """The names in a folder that are not plain ASCII."""
    try:
        return tuple(path.name for path in folder.iterdir() if not path.name.isascii())
    except OSError:
        return ()


@lru_cache(maxsize=4096)  # the headers of a data set differ in T only
def _parse_header(head: bytes) -> tuple[tuple[int, ...], np.dtype, int] | None:
    """Shape, type and the bytes before the data; None for what is not an .npy header."""
    stream = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(stream)
        with _PARSING:
            if version == (1, 0):
                shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
            else:
                shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    except UNREADABLE:
        return None
    return shape, dtype, stream.tell()

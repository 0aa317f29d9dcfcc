"""Reading JSON that people wrote: every value is checked, and all that is wrong is told at once."""

from __future__ import annotations

import json
import math
import reprlib
from collections import Counter
from pathlib import Path
from typing import Any

from loco.errors import AnnotationError, LocoError

_SHOWN = 20  # problems that a message names


class Problems:
    """Gathers what is wrong with a file.

    Args:
        source: what messages call it, usually its path.
        kind: what sort of file was expected.
        error: what is raised of them.
    """

    def __init__(
        self,
        source: str,
        kind: str = "an annotation file",
        error: type[LocoError] = AnnotationError,
    ) -> None:
        self.source = source
        self.kind = kind
        self.error = error
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        self.lines.append(line)

    def end(self) -> None:
        """Raise them, if there are any."""
        if len(self.lines) == 1:
            raise self.error(f"{self.source}: {self.lines[0]}")
        if self.lines:
            shown = "\n".join(f"  {line}" for line in self.lines[:_SHOWN])
            rest = len(self.lines) - _SHOWN
            more = f"\n  … and {rest} more" if rest > 0 else ""
            raise self.error(f"{self.source}: {len(self.lines)} problems:\n{shown}{more}")


class Wrong(Exception):
    """What is wrong with one value; becomes a line of the problems."""


def parse_json(path: Path, problems: Problems) -> Any:
    """The content of a file; a key that stands twice in an object is a problem.

    Raises:
        LocoError: there is no such file, or it is no JSON.
    """
    error_of = problems.error

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            for name, times in Counter(name for name, _ in pairs).items():
                if times > 1:
                    value = content[name]
                    video = isinstance(value, dict) and "duration" in value
                    kind = "video" if video else "key"
                    problems.add(f"{kind} {name!r}: expected once, stands {times} times")
        return content

    try:
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text, object_pairs_hook=unique)
    except FileNotFoundError:
        raise error_of(f"{path}: expected {problems.kind}, there is none") from None
    except OSError as error:
        raise error_of(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise error_of(f"{path}: expected JSON in UTF-8, this is not text") from None
    except json.JSONDecodeError as error:
        raise error_of(
            f"{path}: line {error.lineno}, column {error.colno}: expected JSON, got: {error.msg}"
        ) from None
    except (ValueError, RecursionError) as error:  # thousands of digits, or of nested brackets
        raise error_of(f"{path}: expected JSON of ordinary size, got: {error}") from None


def required(entry: dict[str, Any], key: str, field: str = "") -> Any:
    """The value of a key that must be there."""
    if key not in entry:
        name = f"{field}.{key}" if field else key
        raise Wrong(f"{name}: expected this key, it is missing")
    return entry[key]


def read_number(value: Any, field: str, kind: str = "number (seconds)") -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise unexpected(field, f"a {kind}", value)
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise unexpected(field, f"a finite {kind}", value)
    return number


def unexpected(field: str, expected: str, got: Any) -> Wrong:
    """What to raise, or to show, of a value that is not what was expected."""
    return Wrong(f"{field}: expected {expected}, got {reprlib.repr(got)}")


def is_text(text: str) -> bool:
    """Whether a text can be written to a file: JSON can hold halves of a surrogate pair."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True

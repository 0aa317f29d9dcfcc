"""Which videos are meant: a file, a folder, a list of paths in a text file, or several of these."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from loco.errors import VideoError

log = logging.getLogger(__name__)

ENDINGS = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts",
    ".wmv", ".flv", ".ogv", ".3gp", ".mxf",
)  # fmt: skip
"""Of the files that are taken from a folder; one that is named may have any."""


def find_videos(
    videos: str | Path | Sequence[str | Path], recursive: bool = False
) -> dict[str, Path]:
    """Id → file, sorted; the id of a video is its file's name without the ending.

    Args:
        videos: a video; a folder; a `.txt` file with a path on each line, which are relative to it;
            or several of these.
        recursive: also what lies in folders within a folder.

    Raises:
        VideoError: there are none, or two have the same id.
    """
    given = [videos] if isinstance(videos, str | Path) else list(videos)
    for one in given:
        _refuse_address(str(one))
    files = [file for one in given for file in _files(Path(one), recursive)]
    found: dict[str, Path] = {}
    for file in sorted(dict.fromkeys(files)):
        if (other := found.setdefault(file.stem, file)) != file:
            raise VideoError(
                f"{other} and {file}: two videos of one id, {file.stem!r}, by which their features "
                "are named; rename one"
            )
    if not found:
        raise VideoError(f"videos={', '.join(map(str, given))}: expected videos, found none")
    return found


def take_shard(videos: dict[str, Path], shard: str | None) -> dict[str, Path]:
    """The videos of one of several machines: of "0/4" each fourth one, from the first on.

    Raises:
        VideoError: no such shard.
    """
    if shard is None:
        return videos
    number, slash, count = str(shard).partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise VideoError(
            f"shard={shard}: expected the number of this one, from 0, and of all, such as 0/4"
        )
    return dict(list(videos.items())[int(number) :: int(count)])


def _refuse_address(text: str, where: str = "") -> None:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        raise VideoError(
            f"{where}{text}: an address; videos are files on this machine, so fetch it first"
        )


def _within(path: Path) -> Iterator[Path]:
    """What lies in a folder and those in it, linked ones too, each folder once.

    Raises:
        VideoError: one of them cannot be read.
    """
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise VideoError(f"{error.filename}: cannot be read ({error.strerror})")

    for folder, inner, names in os.walk(path, followlinks=True, onerror=refuse):
        held = Path(folder).stat()
        if (held.st_dev, held.st_ino) in seen:
            inner.clear()
            continue
        seen.add((held.st_dev, held.st_ino))
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(names))


def _files(path: Path, recursive: bool) -> Iterable[Path]:
    if path.is_dir():
        inside = [p for p in (_within(path) if recursive else path.iterdir()) if p.is_file()]
        hidden = [
            p for p in inside if any(part.startswith(".") for part in p.relative_to(path).parts)
        ]
        others = [p for p in inside if p not in hidden and p.suffix.lower() not in ENDINGS]
        if others:
            names = ", ".join(p.name for p in sorted(others)[:3])
            log.info("%s: by their names no videos: %d (%s)", path, len(others), names)
        return [p for p in inside if p not in hidden and p.suffix.lower() in ENDINGS]
    if path.suffix.lower() == ".txt" and path.is_file():
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise VideoError(f"{path}: expected a path on each line: {error}") from None
        named = [line.strip() for line in lines if line.strip()]
        for line in named:
            _refuse_address(line, f"{path}: ")
        return [path.parent / line for line in named]
    return [path]

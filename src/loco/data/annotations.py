"""Reads annotation files: which events each video holds, in UnAV-100's JSON form.

    {"version": "unav100",
     "database": {"72f67ednp7w": {"duration": 47.68, "subset": "train", "annotations": [
        {"segment": [13.01, 15.78], "label": "skateboarding", "label_id": 36}, …]}, …}}

Everything is checked while it is read, because a swapped start and end or a class under two ids
would otherwise only show as a poor result after a day of training.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from loco.errors import AnnotationError
from loco.structures import Events

SUBSETS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """What is known of a video besides its features.

    Args:
        id: its name, also in the names of its feature files.
        duration: seconds.
        subset: "train", "validation" or "test"; "predict" where there is no annotation.
        events: ground truth, segments in seconds, float64; may be empty.
    """

    id: str
    duration: float
    subset: str
    events: Events


class Annotations(dict[str, Video]):
    """The videos of an annotation file by id, and the names of their classes.

    Args:
        videos: the videos, in the file's order.
        class_names: K names; the place of a name is its class id.
        source: what messages call the origin of all this, usually the file's path.
    """

    def __init__(
        self, videos: Iterable[Video], class_names: Iterable[str], source: str = "annotations"
    ) -> None:
        super().__init__((video.id, video) for video in videos)
        self.class_names = list(class_names)
        self.source = source

    def split(self, subset: str) -> list[Video]:
        """The videos of one subset, in the file's order.

        Raises:
            AnnotationError: there is no such subset, or no video in it.
        """
        if subset not in SUBSETS:
            raise AnnotationError(
                f"{self.source}: expected a subset among {_either(SUBSETS)}, got {subset!r}"
            )
        videos = [video for video in self.values() if video.subset == subset]
        if not videos:
            there = [name for name in SUBSETS if any(v.subset == name for v in self.values())]
            raise AnnotationError(
                f"{self.source}: subset {subset!r} is asked for and has no video; "
                f"there are videos of {_either(there)}"
                + (" (data.test_split= says which is tested)" if subset == "test" else "")
            )
        return videos


def read_annotations(path: str | Path) -> Annotations:
    """Reads and checks an annotation file.

    Returns:
        The videos by id, a `dict[str, Video]`, with `class_names` and `split(subset)`.

    Raises:
        AnnotationError: the first thing that is wrong: file, video, field, and what was expected.
    """
    source = str(path)
    content = _parse(Path(path))
    if not isinstance(content, dict):
        raise _wrong(source, "the file", "an object with the key 'database'", content)
    database = _get(content, "database", source)
    if not isinstance(database, dict):
        raise _wrong(source, "database", "an object of videos by id", database)

    classes = _Classes(source)
    videos = [_read_video(source, video_id, entry, classes) for video_id, entry in database.items()]
    return Annotations(videos, classes.names(), source)


def _read_video(source: str, video_id: str, entry: Any, classes: _Classes) -> Video:
    where = f"{source}: video {video_id!r}"
    if not isinstance(entry, dict):
        raise _wrong(where, "its entry", "an object", entry)

    duration = _number(_get(entry, "duration", where), "duration", where)
    if duration <= 0:
        raise _wrong(where, "duration", "more than 0 seconds", duration)
    subset = _get(entry, "subset", where)
    if subset not in SUBSETS:
        raise _wrong(where, "subset", _either(SUBSETS), subset)
    annotations = _get(entry, "annotations", where)
    if not isinstance(annotations, list):
        raise _wrong(where, "annotations", "a list of events", annotations)

    segments, labels = [], []
    for number, annotation in enumerate(annotations):
        field = f"annotations[{number}]"
        if not isinstance(annotation, dict):
            raise _wrong(where, field, "an object", annotation)
        segments.append(_read_segment(annotation, duration, field, where))
        labels.append(classes.read(annotation, field, where))
    events = Events(
        torch.tensor(segments, dtype=torch.float64).reshape(-1, 2),
        torch.tensor(labels, dtype=torch.long),
    )
    return Video(video_id, duration, subset, events)


def _read_segment(
    annotation: dict[str, Any], duration: float, field: str, where: str
) -> tuple[float, float]:
    field_name = f"{field}.segment"
    segment = _get(annotation, "segment", where, field)
    if not isinstance(segment, list) or len(segment) != 2:
        raise _wrong(where, field_name, "[start, end] in seconds", segment)
    start = _number(segment[0], f"{field_name}[0]", where)
    end = _number(segment[1], f"{field_name}[1]", where)
    if start >= end:
        raise _wrong(where, field_name, "start < end", segment)
    if start < 0 or end > duration:
        raise _wrong(where, field_name, f"times within [0, {duration:g}], the duration", segment)
    return start, end


class _Classes:
    """Gathers class names and ids, and sees to it that they correspond one to one."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.name_of: dict[int, str] = {}
        self.id_of: dict[str, int] = {}

    def read(self, annotation: dict[str, Any], field: str, where: str) -> int:
        """The class id of one annotation."""
        name = _get(annotation, "label", where, field)
        if not isinstance(name, str) or not name.strip():
            raise _wrong(where, f"{field}.label", "the name of a class", name)
        label = _get(annotation, "label_id", where, field)
        if isinstance(label, bool) or not isinstance(label, int) or label < 0:
            raise _wrong(where, f"{field}.label_id", "a whole number from 0", label)
        if self.id_of.setdefault(name, label) != label:
            expected = f"{self.id_of[name]}, the id that label {name!r} has elsewhere in the file"
            raise _wrong(where, f"{field}.label_id", expected, label)
        if self.name_of.setdefault(label, name) != name:
            expected = f"{self.name_of[label]!r}, the label of id {label} elsewhere in the file"
            raise _wrong(where, f"{field}.label", expected, name)
        return label

    def names(self) -> list[str]:
        """The K names by id; the ids must be 0 … K − 1."""
        count = len(self.name_of)
        gaps = (label for label in range(count) if label not in self.name_of)
        gap = next(gaps, None)
        if gap is not None:
            raise AnnotationError(
                f"{self.source}: label_id: expected the {count} classes to have the ids "
                f"0 to {count - 1} without gaps, but no event has id {gap} "
                f"and {self.name_of[max(self.name_of)]!r} has id {max(self.name_of)}"
            )
        return [self.name_of[label] for label in range(count)]


def _parse(path: Path) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            names = [name for name, _ in pairs]
            name, value = next(pair for pair in pairs if names.count(pair[0]) > 1)
            kind = "video" if isinstance(value, dict) and "duration" in value else "key"
            raise AnnotationError(
                f"{path}: {kind} {name!r}: expected once, stands {names.count(name)} times"
            )
        return content

    try:
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text, object_pairs_hook=unique)
    except FileNotFoundError:
        raise AnnotationError(f"{path}: expected an annotation file, there is none") from None
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise AnnotationError(f"{path}: expected JSON in UTF-8, this is not text") from None
    except json.JSONDecodeError as error:
        raise AnnotationError(
            f"{path}: line {error.lineno}, column {error.colno}: expected JSON, got: {error.msg}"
        ) from None
    except (ValueError, RecursionError) as error:  # thousands of digits, or of nested brackets
        raise AnnotationError(f"{path}: expected JSON of ordinary size, got: {error}") from None


def _get(entry: dict[str, Any], key: str, where: str, field: str = "") -> Any:
    if key not in entry:
        name = f"{field}.{key}" if field else key
        raise AnnotationError(f"{where}: {name}: expected this key, it is missing")
    return entry[key]


def _number(value: Any, field: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(where, field, "a number (seconds)", value)
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise _wrong(where, field, "a finite number (seconds)", value)
    return number


def _wrong(where: str, field: str, expected: str, got: Any) -> AnnotationError:
    return AnnotationError(f"{where}: {field}: expected {expected}, got {reprlib.repr(got)}")


def _either(names: Iterable[str]) -> str:
    return " | ".join(names)

"""Reads annotation files: which events each video holds, in UnAV-100's JSON form.

    {"version": "unav100",
     "database": {"72f67ednp7w": {"duration": 47.68, "subset": "train", "annotations": [
        {"segment": [13.01, 15.78], "label": "skateboarding", "label_id": 36}, …]}, …}}

Everything is checked while it is read, because a swapped start and end or a class under two ids
would otherwise only show as a poor result after a day of training. All that is wrong is told at
once. Only times that lie outside of a video by no more than rounding are clipped, with a warning.
"""

from __future__ import annotations

import json
import logging
import math
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from loco.errors import AnnotationError
from loco.structures import Events

log = logging.getLogger(__name__)

SUBSETS = ("train", "validation", "test")
ROUNDING = 0.25
"""Seconds, about a step, by which a time may lie outside of its video; or 1 % of the duration."""
_MAX_LABEL = 10**6
_SHOWN = 20  # problems that a message names
_told: set[tuple[str, int]] = set()  # warnings are given once a process


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


def read_annotations(path: str | Path, class_names: Sequence[str] | None = None) -> Annotations:
    """Reads and checks an annotation file.

    Args:
        path: the file.
        class_names: those of a trained model, where the file is to be read for it: some of them
            may lack events, but no id may have another name. None: the file's own, by its ids.

    Returns:
        The videos by id, a `dict[str, Video]`, with `class_names` and `split(subset)`.

    Raises:
        AnnotationError: all that is wrong: file, video, field, and what was expected.
    """
    source = str(path)
    problems = _Problems(source)
    content = _parse(Path(path), problems)
    if not isinstance(content, dict):
        wrong = _wrong("the file", "an object with the key 'database'", content)
        raise AnnotationError(f"{source}: {wrong}")
    if "database" not in content:
        raise AnnotationError(f"{source}: database: expected this key, it is missing")
    database = content["database"]
    if not isinstance(database, dict):
        raise AnnotationError(
            f"{source}: {_wrong('database', 'an object of videos by id', database)}"
        )

    reader = _Reader(problems, class_names)
    videos = [reader.video(video_id, entry) for video_id, entry in database.items()]
    class_names = reader.classes.names()
    problems.end()
    if reader.clipped and (told := (source, reader.clipped)) not in _told:
        _told.add(told)
        log.warning(
            "%s: %d events reach out of their video by no more than rounding (%g s or 1 %%) "
            "and are clipped to it", source, reader.clipped, ROUNDING,
        )  # fmt: skip
    return Annotations([video for video in videos if video is not None], class_names, source)


class _Problems:
    """Gathers what is wrong with a file."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        self.lines.append(line)

    def end(self) -> None:
        """Raise them, if there are any."""
        if len(self.lines) == 1:
            raise AnnotationError(f"{self.source}: {self.lines[0]}")
        if self.lines:
            shown = "\n".join(f"  {line}" for line in self.lines[:_SHOWN])
            rest = len(self.lines) - _SHOWN
            more = f"\n  … and {rest} more" if rest > 0 else ""
            raise AnnotationError(f"{self.source}: {len(self.lines)} problems:\n{shown}{more}")


class _Wrong(Exception):
    """What is wrong with one value; becomes a line of the problems."""


class _Reader:
    """Reads videos and events; what is wrong goes to the problems, and reading goes on."""

    def __init__(self, problems: _Problems, class_names: Sequence[str] | None) -> None:
        self.problems = problems
        self.classes = _Classes(problems, class_names)
        self.clipped = 0

    def video(self, video_id: str, entry: Any) -> Video | None:
        """One video, or None where something is wrong with it."""
        where = f"video {video_id!r}"
        before = len(self.problems.lines)

        def tried(read: Callable[..., Any], *arguments: Any) -> Any:
            try:
                return read(*arguments)
            except _Wrong as error:
                self.problems.add(f"{where}: {error}")

        if not _is_text(video_id):
            self.problems.add(f"{where}: its id: expected text that UTF-8 can hold")
        if not isinstance(entry, dict):
            self.problems.add(f"{where}: {_wrong('its entry', 'an object', entry)}")
            return None
        duration = tried(_read_duration, entry)
        subset = tried(_read_subset, entry)
        annotations = tried(_read_list, entry)
        segments, labels = [], []
        for number, annotation in enumerate(annotations or ()):
            field = f"annotations[{number}]"
            if not isinstance(annotation, dict):
                self.problems.add(f"{where}: {_wrong(field, 'an object', annotation)}")
                continue
            segments.append(tried(self._segment, annotation, duration, field))
            labels.append(tried(self.classes.read, annotation, field))
        if len(self.problems.lines) > before:
            return None
        events = Events(
            torch.tensor(segments, dtype=torch.float64).reshape(-1, 2),
            torch.tensor(labels, dtype=torch.long),
        )
        return Video(video_id, duration, subset, events)

    def _segment(
        self, annotation: dict[str, Any], duration: float | None, field: str
    ) -> tuple[float, float]:
        """Start and end in seconds; `duration` is None where that is wrong itself."""
        field_name = f"{field}.segment"
        segment = _get(annotation, "segment", field)
        if not isinstance(segment, list) or len(segment) != 2:
            raise _wrong(field_name, "[start, end] in seconds", segment)
        start = _number(segment[0], f"{field_name}[0]")
        end = _number(segment[1], f"{field_name}[1]")
        if start >= end:
            raise _wrong(field_name, "start < end", segment)
        if duration is None or 0 <= start < end <= duration:
            return start, end
        spare = max(ROUNDING, 0.01 * duration)
        clipped = max(start, 0.0), min(end, duration)
        if start < -spare or end > duration + spare or clipped[0] >= clipped[1]:
            raise _wrong(field_name, f"times within [0, {duration:g}], the duration", segment)
        self.clipped += 1
        return clipped


def _read_duration(entry: dict[str, Any]) -> float:
    duration = _number(_get(entry, "duration"), "duration")
    if duration <= 0:
        raise _wrong("duration", "more than 0 seconds", duration)
    return duration


def _read_subset(entry: dict[str, Any]) -> str:
    subset = _get(entry, "subset")
    if subset not in SUBSETS:
        raise _wrong("subset", _either(SUBSETS), subset)
    return str(subset)


def _read_list(entry: dict[str, Any]) -> list[Any]:
    annotations = _get(entry, "annotations")
    if not isinstance(annotations, list):
        raise _wrong("annotations", "a list of events", annotations)
    return annotations


class _Classes:
    """Gathers class names and ids, and sees to it that they correspond one to one."""

    def __init__(self, problems: _Problems, known: Sequence[str] | None) -> None:
        self.problems = problems
        self.known = known
        self.name_of: dict[int, str] = dict(enumerate(known or ()))
        self.id_of: dict[str, int] = {name: label for label, name in self.name_of.items()}

    def read(self, annotation: dict[str, Any], field: str) -> int:
        """The class id of one annotation."""
        name = _get(annotation, "label", field)
        if not isinstance(name, str) or not name.strip() or not _is_text(name):
            raise _wrong(f"{field}.label", "the name of a class", name)
        label = _get(annotation, "label_id", field)
        whole = isinstance(label, int) and not isinstance(label, bool)
        if not whole or not 0 <= label <= _MAX_LABEL:
            raise _wrong(f"{field}.label_id", "a whole number from 0", label)
        if self.known is not None and self.name_of.get(label) != name:
            theirs = repr(self.name_of[label]) if label in self.name_of else "no class"
            raise _wrong(f"{field}.label", f"{theirs}, which the model has as id {label}", name)
        if self.id_of.setdefault(name, label) != label:
            expected = f"{self.id_of[name]}, the id that label {name!r} has elsewhere in the file"
            raise _wrong(f"{field}.label_id", expected, label)
        if self.name_of.setdefault(label, name) != name:
            expected = f"{self.name_of[label]!r}, the label of id {label} elsewhere in the file"
            raise _wrong(f"{field}.label", expected, name)
        return int(label)

    def names(self) -> list[str]:
        """The K names by id; the ids must be 0 … K − 1."""
        count = len(self.name_of)
        gap = next((label for label in range(count) if label not in self.name_of), None)
        if gap is not None:
            # where events could not be read the missing id may be theirs
            if not self.problems.lines:
                self.problems.add(
                    f"label_id: expected the {count} classes to have the ids "
                    f"0 to {count - 1} without gaps, but no event has id {gap} "
                    f"and {self.name_of[max(self.name_of)]!r} has id {max(self.name_of)}"
                )
            return []
        return [self.name_of[label] for label in range(count)]


def _parse(path: Path, problems: _Problems) -> Any:
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


def _get(entry: dict[str, Any], key: str, field: str = "") -> Any:
    if key not in entry:
        name = f"{field}.{key}" if field else key
        raise _Wrong(f"{name}: expected this key, it is missing")
    return entry[key]


def _number(value: Any, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(field, "a number (seconds)", value)
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise _wrong(field, "a finite number (seconds)", value)
    return number


def _wrong(field: str, expected: str, got: Any) -> _Wrong:
    return _Wrong(f"{field}: expected {expected}, got {reprlib.repr(got)}")


def _is_text(text: str) -> bool:
    """Whether a text can be written to a file: JSON can hold halves of a surrogate pair."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _either(names: Iterable[str]) -> str:
    return " | ".join(names)

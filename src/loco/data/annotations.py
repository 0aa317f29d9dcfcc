"""Reads annotation files: which events each video holds, in UnAV-100's JSON form.

    {"version": "unav100",
     "database": {"72f67ednp7w": {"duration": 47.68, "subset": "train", "annotations": [
        {"segment": [13.01, 15.78], "label": "skateboarding", "label_id": 36}, …]}, …}}

Everything is checked while it is read, because a swapped start and end or a class under two ids
would otherwise only show as a poor result after a day of training. All that is wrong is told at
once. Only times that lie outside of a video by no more than rounding are clipped, with a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from loco.data.checked_json import (
    Problems,
    Wrong,
    is_text,
    parse_json,
    read_number,
    required,
    unexpected,
)
from loco.errors import AnnotationError
from loco.structures import Events

log = logging.getLogger(__name__)

SUBSETS = ("train", "validation", "test")
ROUNDING = 0.25
"""Seconds, about a step, by which a time may lie outside of its video; or 1 % of the duration."""
_MAX_LABEL = 10**6
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
        videos: the videos; they are kept by id, so that no training and no tie between equal scores
            depends on a file's order.
        class_names: K names; the place of a name is its class id.
        source: what messages call the origin of all this, usually the file's path.
    """

    def __init__(
        self, videos: Iterable[Video], class_names: Iterable[str], source: str = "annotations"
    ) -> None:
        super().__init__((video.id, video) for video in sorted(videos, key=lambda v: v.id))
        self.class_names = list(class_names)
        self.source = source

    def split(self, subset: str) -> list[Video]:
        """The videos of one subset, by id.

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
    problems = Problems(source)
    content = parse_json(Path(path), problems)
    if not isinstance(content, dict):
        what = unexpected("the file", "an object with the key 'database'", content)
        raise AnnotationError(f"{source}: {what}")
    if "database" not in content:
        raise AnnotationError(f"{source}: database: expected this key, it is missing")
    database = content["database"]
    if not isinstance(database, dict):
        raise AnnotationError(
            f"{source}: {unexpected('database', 'an object of videos by id', database)}"
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
    if reader.twice and (told := (f"{source} twice", reader.twice)) not in _told:
        _told.add(told)
        log.warning(
            "%s: %d events stand there a second time, with the same class and times (the first in "
            "video %r); every copy counts as an event of its own, which nothing can find twice",
            source, reader.twice, reader.first_twice,
        )  # fmt: skip
    return Annotations([video for video in videos if video is not None], class_names, source)


class _Reader:
    """Reads videos and events; what is wrong goes to the problems, and reading goes on."""

    def __init__(self, problems: Problems, class_names: Sequence[str] | None) -> None:
        self.problems = problems
        self.classes = _Classes(problems, class_names)
        self.clipped = 0
        self.twice = 0
        self.first_twice = ""

    def video(self, video_id: str, entry: Any) -> Video | None:
        """One video, or None where something is wrong with it."""
        where = f"video {video_id!r}"
        before = len(self.problems.lines)

        def tried(read: Callable[..., Any], *arguments: Any) -> Any:
            try:
                return read(*arguments)
            except Wrong as error:
                self.problems.add(f"{where}: {error}")

        if not is_text(video_id):
            self.problems.add(f"{where}: its id: expected text that UTF-8 can hold")
        if not isinstance(entry, dict):
            self.problems.add(f"{where}: {unexpected('its entry', 'an object', entry)}")
            return None
        duration = tried(_read_duration, entry)
        subset = tried(_read_subset, entry)
        annotations = tried(_read_list, entry)
        segments, labels = [], []
        for number, annotation in enumerate(annotations or ()):
            field = f"annotations[{number}]"
            if not isinstance(annotation, dict):
                self.problems.add(f"{where}: {unexpected(field, 'an object', annotation)}")
                continue
            segments.append(tried(self._segment, annotation, duration, field))
            labels.append(tried(self.classes.read, annotation, field))
        if len(self.problems.lines) > before:
            return None
        if again := len(labels) - len(set(zip(segments, labels, strict=True))):
            self.first_twice = self.first_twice or video_id
            self.twice += again
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
        segment = required(annotation, "segment", field)
        if not isinstance(segment, list) or len(segment) != 2:
            raise unexpected(field_name, "[start, end] in seconds", segment)
        start = read_number(segment[0], f"{field_name}[0]")
        end = read_number(segment[1], f"{field_name}[1]")
        if start >= end:
            raise unexpected(field_name, "start < end", segment)
        if duration is None or 0 <= start < end <= duration:
            return start, end
        spare = max(ROUNDING, 0.01 * duration)
        clipped = max(start, 0.0), min(end, duration)
        if start < -spare or end > duration + spare or clipped[0] >= clipped[1]:
            raise unexpected(field_name, f"times within [0, {duration:g}], the duration", segment)
        self.clipped += 1
        return clipped


def _read_duration(entry: dict[str, Any]) -> float:
    duration = read_number(required(entry, "duration"), "duration")
    if duration <= 0:
        raise unexpected("duration", "more than 0 seconds", duration)
    return duration


def _read_subset(entry: dict[str, Any]) -> str:
    subset = required(entry, "subset")
    if subset not in SUBSETS:
        raise unexpected("subset", _either(SUBSETS), subset)
    return str(subset)


def _read_list(entry: dict[str, Any]) -> list[Any]:
    annotations = required(entry, "annotations")
    if not isinstance(annotations, list):
        raise unexpected("annotations", "a list of events", annotations)
    return annotations


class _Classes:
    """Gathers class names and ids, and sees to it that they correspond one to one."""

    def __init__(self, problems: Problems, known: Sequence[str] | None) -> None:
        self.problems = problems
        self.known = known
        self.name_of: dict[int, str] = dict(enumerate(known or ()))
        self.id_of: dict[str, int] = {name: label for label, name in self.name_of.items()}

    def read(self, annotation: dict[str, Any], field: str) -> int:
        """The class id of one annotation."""
        name = required(annotation, "label", field)
        if not isinstance(name, str) or not name.strip() or not is_text(name):
            raise unexpected(f"{field}.label", "the name of a class", name)
        label = required(annotation, "label_id", field)
        whole = isinstance(label, int) and not isinstance(label, bool)
        if not whole or not 0 <= label <= _MAX_LABEL:
            raise unexpected(f"{field}.label_id", "a whole number from 0", label)
        if self.known is not None and self.name_of.get(label) != name:
            theirs = repr(self.name_of[label]) if label in self.name_of else "no class"
            raise unexpected(f"{field}.label", f"{theirs}, which the model has as id {label}", name)
        if self.id_of.setdefault(name, label) != label:
            expected = f"{self.id_of[name]}, the id that label {name!r} has elsewhere in the file"
            raise unexpected(f"{field}.label_id", expected, label)
        if self.name_of.setdefault(label, name) != name:
            expected = f"{self.name_of[label]!r}, the label of id {label} elsewhere in the file"
            raise unexpected(f"{field}.label", expected, name)
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


def _either(names: Iterable[str]) -> str:
    return " | ".join(names)

"""Detections read back from files, whoever wrote them, and scored against annotations.

{"database": {video: [{segment, label_id, label, score}]}}    this suite's, UnAV-100's form
{"results": {video: [{segment, label, score}]}}               ActivityNet's, OpenTAD's
{"video-id": [], "t-start": [], "t-end": [], "label": [], "score": []}    a column each, as
    ActionFormer's code and its descendants collect them; label is a class id
video,start,end,label,label_id,score                          a .csv file with these columns
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from loco.data.annotations import Annotations, Video
from loco.data.checked_json import (
    Problems,
    Wrong,
    parse_json,
    read_number,
    required,
    unexpected,
)
from loco.errors import PredictionsError
from loco.files import csv_text_of
from loco.structures import Events

COLUMNS = ("video-id", "t-start", "t-end", "label", "score")
"""Names of the form with a column each; in this order."""
KIND = "a file of predictions"


def read_predictions(
    path: str | Path, class_names: Sequence[str] | None = None
) -> dict[str, Events]:
    """The detections in a file by video, by descending score; float64.

    Args:
        path: the file, in one of the forms above.
        class_names: what the classes of an id are called; an entry may then name its class by
            `label_id`, by the name in `label`, or by both, which must agree. None: by `label_id`.

    Raises:
        PredictionsError: all that is wrong with it, up to twenty lines.
    """
    path = Path(path)
    problems = Problems(str(path), KIND, PredictionsError)
    entries = _Entries(problems, class_names)
    for video, field, entry in _rows(path, problems):
        entries.add(video, field, entry)
    problems.end()
    return entries.events()


def _rows(path: Path, problems: Problems) -> Iterator[tuple[str, str, Any]]:
    """Video, where it stands, and entry {segment, label, label_id, score} of each detection.

    A video without detections comes once, with None.
    """
    if path.suffix == ".csv":
        yield from _csv_rows(path, problems)
        return
    if path.suffix in (".pkl", ".pickle", ".pt", ".pth"):
        raise PredictionsError(
            f"{path}: a pickle can run anybody's code and is not read; write its columns as JSON: "
            f"{', '.join(COLUMNS)}"
        )
    content = parse_json(path, problems)
    known = isinstance(content, dict) and ("database" in content or "results" in content)
    if known:
        yield from _video_rows(content, problems)
    elif isinstance(content, dict) and content.keys() >= set(COLUMNS):
        yield from _column_rows(content, problems)
    else:
        raise PredictionsError(
            f"{path}: expected predictions: an object with the key 'database' or 'results', or "
            f"with the columns {', '.join(COLUMNS)}"
        )


def _video_rows(content: dict[str, Any], problems: Problems) -> Iterator[tuple[str, str, Any]]:
    key = "database" if "database" in content else "results"
    videos = content[key]
    if not isinstance(videos, dict):
        problems.add(str(unexpected(key, "an object of videos by id", videos)))
        return
    if any(isinstance(entry, dict) and "annotations" in entry for entry in videos.values()):
        raise PredictionsError(f"{problems.source}: an annotation file, expected {KIND}")
    for video, entries in videos.items():
        if not isinstance(entries, list):
            told = unexpected("its entry", "a list of detections", entries)
            problems.add(f"video {video!r}: {told}")
            continue
        yield video, "", None
        for number, entry in enumerate(entries):
            yield video, f"[{number}]", entry


def _column_rows(content: dict[str, Any], problems: Problems) -> Iterator[tuple[str, str, Any]]:
    columns = [content[name] for name in COLUMNS]
    if any(not isinstance(column, list) for column in columns):
        problems.add(f"expected lists in the columns {', '.join(COLUMNS)}")
    elif len({len(column) for column in columns}) != 1:
        lengths = ", ".join(f"{n} {len(c)}" for n, c in zip(COLUMNS, columns, strict=True))
        problems.add(f"expected columns of one length, got {lengths}")
    else:
        for number, (video, start, end, label, score) in enumerate(zip(*columns, strict=True)):
            entry = {"segment": [start, end], "label_id": label, "score": score}
            yield str(video), f"[row {number}]", entry


def _csv_rows(path: Path, problems: Problems) -> Iterator[tuple[str, str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise PredictionsError(f"{path}: expected {KIND}, there is none") from None
    except OSError as error:
        raise PredictionsError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PredictionsError(f"{path}: expected a table in UTF-8, this is not text") from None
    table = csv.DictReader(io.StringIO(text, newline=""))
    there = set(table.fieldnames or ())
    if not there >= {"video", "start", "end", "score"} or not there & {"label", "label_id"}:
        raise PredictionsError(
            f"{path}: expected the columns video, start, end, score and label or label_id in the "
            f"first line, got {', '.join(table.fieldnames or ['nothing'])}"
        )
    rows = _csv_cells(table, path)
    for cells in rows:
        row = {name: csv_text_of(cells[name] or "") for name in there}
        field = f"[line {table.line_num}]"
        if any(filter(None, cells.get(None, ()))):  # type: ignore[call-overload]  # surplus cells
            told = "more cells than columns; a comma within a cell wants quotes"
            problems.add(f"video {row['video']!r}: {field}: {told}")
            continue
        try:
            entry: dict[str, Any] = {
                "segment": [_text_number(row[name], name) for name in ("start", "end")],
                "score": _text_number(row["score"], "score"),
            }
            if row.get("label_id"):
                label = _text_number(row["label_id"], "label_id")
                if not label.is_integer():
                    raise unexpected(".label_id", "a whole number", row["label_id"])
                entry["label_id"] = int(label)
        except Wrong as wrong:
            problems.add(f"video {row['video']!r}: {field}{wrong}")
            continue
        if row.get("label"):
            entry["label"] = row["label"]
        yield row["video"], field, entry


def _csv_cells(table: csv.DictReader[str], path: Path) -> Iterator[dict[str, str]]:
    try:
        yield from table
    except csv.Error as error:
        raise PredictionsError(f"{path}: line {table.line_num}: {error}") from None


def _text_number(text: str | None, field: str) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise unexpected(f".{field}", "a number", text) from None


class _Entries:
    """Gathers detections by video and sees to it that each can be meant."""

    def __init__(self, problems: Problems, class_names: Sequence[str] | None) -> None:
        self.problems = problems
        self.names = class_names
        self.ids = {name: label for label, name in enumerate(class_names or ())}
        self.found: dict[str, list[tuple[float, float, float, int]]] = {}

    def add(self, video: str, field: str, entry: Any) -> None:
        """Read one detection; what is wrong goes to the problems."""
        of_video = self.found.setdefault(video, [])
        if entry is None:
            return
        try:
            if not isinstance(entry, dict):
                raise unexpected(field, "an object", entry)
            segment = required(entry, "segment", field)
            if not isinstance(segment, list) or len(segment) != 2:
                raise unexpected(f"{field}.segment", "[start, end] in seconds", segment)
            start, end = (read_number(time, f"{field}.segment") for time in segment)
            if start > end:
                raise unexpected(f"{field}.segment", "start ≤ end", segment)
            score = read_number(required(entry, "score", field), f"{field}.score", "number")
            of_video.append((-score, start, end, self._label(entry, field)))
        except Wrong as wrong:
            self.problems.add(f"video {video!r}: {wrong}")

    def _label(self, entry: dict[str, Any], field: str) -> int:
        label, name = entry.get("label_id"), entry.get("label")
        if label is None and self.names is not None and isinstance(name, str):
            if name not in self.ids:
                raise unexpected(f"{field}.label", "the name of a class of the annotations", name)
            return self.ids[name]
        if label is None:
            required(entry, "label_id", field)
        if isinstance(label, bool) or not isinstance(label, int) or label < 0:
            raise unexpected(f"{field}.label_id", "a whole number from 0", label)
        if self.names is not None:
            if label >= len(self.names):
                told = f"an id below {len(self.names)}, the number of classes of the annotations"
                raise unexpected(f"{field}.label_id", told, label)
            if isinstance(name, str) and name != self.names[label]:
                told = f"{self.names[label]!r}, which the annotations have as id {label}"
                raise unexpected(f"{field}.label", told, name)
        return label

    def events(self) -> dict[str, Events]:
        """The detections of each video, by descending score; equal ones as they stood."""
        result = {}
        for video, rows in self.found.items():
            rows = sorted(rows, key=lambda row: row[0])
            result[video] = Events(
                torch.tensor([row[1:3] for row in rows], dtype=torch.float64).reshape(-1, 2),
                torch.tensor([row[3] for row in rows], dtype=torch.long),
                torch.tensor([-row[0] for row in rows], dtype=torch.float64),
            )
        return result


@dataclass(frozen=True)
class Matched:
    """Predictions beside the annotated videos that they are scored on.

    Attributes:
        videos: the videos of the split.
        detections: of each of them; none where the file has none.
        without: videos of the split that the file does not name: they count as without detections.
        ignored: videos of the file that are not in the split: they do not count.
    """

    videos: list[Video]
    detections: dict[str, Events]
    without: list[str]
    ignored: list[str]


def match_videos(
    path: str | Path, predictions: dict[str, Events], annotations: Annotations, subset: str
) -> Matched:
    """Find the videos of a split in what was predicted.

    Raises:
        PredictionsError: no video of the file is in the split.
        AnnotationError: there is no such split.
    """
    videos = annotations.split(subset)
    split = {video.id for video in videos}
    if not split & predictions.keys():
        first = next(iter(predictions), None)
        shown = "it has no video at all" if first is None else f"its first video is {first!r}"
        raise PredictionsError(
            f"{path}: none of its videos is in subset {subset!r} of {annotations.source}; {shown}"
        )
    return Matched(
        videos,
        {video.id: predictions.get(video.id, Events.empty(scored=True)) for video in videos},
        [video.id for video in videos if video.id not in predictions],
        [video for video in predictions if video not in split],
    )

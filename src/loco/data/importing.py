"""Events that people marked with their tools, read from the tools' own files.

ELAN documents (.eaf), Audacity label tracks (.txt), VIA 3 projects (.json) and tables (.csv).
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np

from loco.errors import AnnotationError
from loco.files import csv_text_of

SCORE = re.compile(r" \((0\.\d\d|1\.00)\)$")
"""What our own exports put behind a label, but in tables, which have a column for it."""


CUT = 0.5
"""Seconds by which an event may end behind its video, where it is cut."""


class Mark(NamedTuple):
    """An event in a video: seconds, and its class."""

    video: str
    start: float
    end: float
    label: str


def read_marks(path: Path) -> list[Mark]:
    """The events in a file, by its ending; the id of a video is its file's name without ending.

    Raises:
        AnnotationError: it cannot be read, or holds what is no event: names the place.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise AnnotationError(f"{path}: expected one of {', '.join(READERS)}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        marks = [_checked(mark, path) for mark in reader(text, path)]
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise AnnotationError(f"{path}: expected text in UTF-8") from None
    except (
        LookupError, TypeError, AttributeError, ElementTree.ParseError, csv.Error,
    ) as error:  # fmt: skip
        kind = type(error).__name__
        raise AnnotationError(f"{path}: not of the form of its kind ({kind}: {error})") from None
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: {error}") from None
    return marks


def annotation_file(
    marks: Sequence[Mark],
    durations: dict[str, float],
    parts: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
) -> dict[str, Any]:
    """The events in UnAV-100's form, the videos divided among the subsets by chance.

    No subset whose part is above 0 is left without a video, if there are as many.

    Args:
        marks: of all videos.
        durations: seconds, by id; a video without a mark is one without events.
        parts: of train, validation and test, which sum to 1.
        seed: of the division, which is the same for the same videos.

    Raises:
        ValueError: the parts are not such numbers.
        AnnotationError: events of a video that there is not, or beyond its end.
    """
    if len(parts) != 3 or min(parts) < 0 or not math.isclose(sum(parts), 1):
        raise ValueError(f"expected three parts that sum to 1, got {list(parts)}")
    for mark in marks:
        if mark.video not in durations:
            known = ", ".join(sorted(durations)[:3])
            raise AnnotationError(f"{mark.video!r}: has events, but is no video here ({known}, …)")
        end = durations[mark.video]
        if mark.end > end + CUT or mark.start >= end:
            raise AnnotationError(
                f"{mark.video!r}: {mark.label!r} is from {mark.start:g} to {mark.end:g} s, the "
                f"video ends at {end:g} s"
            )
    labels = {label: i for i, label in enumerate(sorted({mark.label for mark in marks}))}
    by_video: dict[str, list[Mark]] = {name: [] for name in durations}
    for mark in sorted(marks):
        by_video[mark.video].append(mark)
    names = sorted(durations)
    order = np.random.default_rng(seed).permutation(len(names))
    first, second = (round(part * len(names)) for part in (parts[0], parts[0] + parts[1]))
    wanted = [int(part > 0) for part in parts]
    if len(names) >= sum(wanted):  # of few videos each part gets one, too
        second = min(max(second, sum(wanted[:2])), len(names) - wanted[2])
        first = min(max(first, wanted[0]), second - wanted[1])
    subsets = {
        names[video]: "train" if place < first else "validation" if place < second else "test"
        for place, video in enumerate(order)
    }
    return {
        "database": {
            name: {
                "duration": durations[name],
                "subset": subsets[name],
                "annotations": [
                    {
                        "segment": [mark.start, min(mark.end, durations[name])],
                        "label": mark.label,
                        "label_id": labels[mark.label],
                    }
                    for mark in by_video[name]
                ],
            }
            for name in names
        }
    }


def _checked(mark: Mark, path: Path) -> Mark:
    label = mark.label if path.suffix.lower() == ".csv" else SCORE.sub("", mark.label)
    label = " ".join(label.split())
    where = f"video {mark.video!r}, [{mark.start:g}, {mark.end:g}] s"
    if not (math.isfinite(mark.start) and 0 <= mark.start < mark.end < math.inf):
        raise AnnotationError(f"{path}: {where}: expected 0 ≤ start < end")
    if not label:
        raise AnnotationError(f"{path}: {where}: expected a label, it has none")
    return mark._replace(label=label)


def _elan(text: str, path: Path) -> Iterator[Mark]:
    """The label is an annotation's text, else that of those that refer to it, else its tier's name.

    `TIME_ORIGIN`, in milliseconds, is where in the film the document's time 0 is.
    """
    root = ElementTree.fromstring(text)
    header = root.find("HEADER")
    unit = "milliseconds" if header is None else header.get("TIME_UNITS") or "milliseconds"
    if unit != "milliseconds":
        raise ValueError(f"expected times in milliseconds, its TIME_UNITS are {unit}")
    media = root.find(".//MEDIA_DESCRIPTOR")
    address = "" if media is None else media.get("MEDIA_URL") or ""
    video = Path(unquote(address)).stem if address else path.stem
    origin = float("0" if media is None else media.get("TIME_ORIGIN") or "0")
    times = {
        slot.get("TIME_SLOT_ID"): (float(slot.get("TIME_VALUE") or "nan") + origin) / 1000
        for slot in root.iter("TIME_SLOT")
    }
    said: dict[str, list[str]] = {}  # by annotation, what other tiers say of it
    for entry in root.iter("REF_ANNOTATION"):
        value = (entry.findtext("ANNOTATION_VALUE") or "").strip()
        said.setdefault(entry.attrib["ANNOTATION_REF"], []).extend([value] if value else [])
    for tier in root.iter("TIER"):
        for entry in tier.iter("ALIGNABLE_ANNOTATION"):
            value = (entry.findtext("ANNOTATION_VALUE") or "").strip()
            start, end = (times[entry.attrib[f"TIME_SLOT_REF{i}"]] for i in (1, 2))
            names = [value] if value else said.get(entry.get("ANNOTATION_ID", ""))
            for name in names or [tier.attrib["TIER_ID"]]:
                yield Mark(video, start, end, name)


def _audacity(text: str, path: Path) -> Iterator[Mark]:
    """A label track is of the video of its own name; lines of frequencies are left out."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("\\"):
            parts = line.split("\t")
            if len(parts) != 3:
                raise ValueError(f"line {number}: expected start, end and label with tabs between")
            yield Mark(path.stem, _number(parts[0], number), _number(parts[1], number), parts[2])


def _table(text: str, path: Path) -> Iterator[Mark]:
    """Columns video, start, end and label, in any order, also as our own exports have them."""
    rows = csv.DictReader(io.StringIO(text, newline=""))
    missing = {"video", "start", "end", "label"} - set(rows.fieldnames or ())
    if missing:
        raise ValueError(f"expected columns video, start, end and label; no {', '.join(missing)}")
    for row in rows:
        if any(filter(None, row.get(None, ()))):  # what stands behind the last column
            raise ValueError(
                f"line {rows.line_num}: more cells than columns; a comma within a cell wants quotes"
            )
        start, end = (_number(row[key], rows.line_num) for key in ("start", "end"))
        video, label = (csv_text_of(row[key] or "") for key in ("video", "label"))
        yield Mark(Path(video).stem if "/" in video else video, start, end, label)


def _via(text: str, path: Path) -> Iterator[Mark]:
    """Temporal segments of a VIA 3 project; a label may be the number of one of its options.

    Free text beside such a choice is a remark and no label.
    """
    project = json.loads(text)
    for mark in project["metadata"].values():
        if len(mark["z"]) != 2:  # a region of a still
            continue
        view = project["view"][mark["vid"]]
        video = Path(project["file"][str(view["fid_list"][0])]["fname"]).stem
        start, end = map(float, mark["z"])
        chosen: list[str] = []
        free: list[str] = []
        kinds: set[str] = set()
        for attribute, value in mark["av"].items():
            kind = project["attribute"][attribute]
            options = kind.get("options") or {}
            # of boxes to tick, the numbers of those that are ticked
            values = value.split(",") if str(kind.get("type")) == "2" else [value]
            labels = [options.get(one, one) for one in values if one.strip()]
            (chosen if options else free).extend(labels)
            kinds |= {str(kind.get("aname", attribute))} if options and labels else set()
        if len(kinds) > 1:
            raise ValueError(
                f"video {video!r}, [{start:g}, {end:g}] s: choices of {', '.join(sorted(kinds))}; "
                "expected those of one attribute, which names the event"
            )
        for label in chosen or free or [""]:
            yield Mark(video, start, end, label)


def _number(text: str | None, line: int) -> float:
    if re.fullmatch(r"\s*\d{1,3}(,\d{3})+\s*", text or ""):
        raise ValueError(
            f"line {line}: {text!r} may be thousands or a fraction: use a point, or none"
        )
    try:
        return float((text or "").replace(",", "."))
    except ValueError:
        raise ValueError(f"line {line}: expected seconds, got {text!r}") from None


READERS: dict[str, Callable[[str, Path], Iterator[Mark]]] = {
    ".eaf": _elan, ".txt": _audacity, ".csv": _table, ".json": _via,
}  # fmt: skip
"""By a file's ending."""

"""Detections in forms that people and their tools read: tables, subtitles, annotators' files.

`csv` is one table of all videos; the others are a file for each video, in a folder of the format's
name: `srt` and `vtt` subtitles (one cue an event), `audacity` label tracks, `elan` documents.

Names are data. JSON has them as they are, and CSV but for `'` before what a spreadsheet would
compute; the others have them in a line, with `�` for control characters.
"""

from __future__ import annotations

import csv
import html
import io
import mimetypes
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from loco.data.features import is_file_name
from loco.errors import ExportError
from loco.files import MAX_NAME_BYTES, csv_cell, write_text
from loco.runs.results import predictions_json, write_json
from loco.runs.text import one_line
from loco.structures import Events


class Cue(NamedTuple):
    """An event as people read it: seconds, class name, score (None for ground truth)."""

    start: float
    end: float
    name: str
    score: float | None

    @property
    def text(self) -> str:
        """Name and score in a line, such as `dog barking (0.87)`."""
        return self.name if self.score is None else f"{self.name} ({self.score:.2f})"


def cues(events: Events, class_names: Sequence[str]) -> list[Cue]:
    """Events in the order of time; names without line breaks, tabs and control characters."""
    scores = [None] * len(events) if events.scores is None else events.scores.tolist()
    rows = zip(events.segments.tolist(), events.labels.tolist(), scores, strict=True)
    return sorted(
        Cue(start, end, one_line(class_names[label]), score) for (start, end), label, score in rows
    )


def csv_text(detections: Mapping[str, Events], class_names: Sequence[str]) -> str:
    """All detections as a table: video, start and end in seconds, label, label_id, score.

    Names as by `csv_cell`.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["video", "start", "end", "label", "label_id", "score"])
    for video, entries in predictions_json(detections, class_names)["database"].items():
        for entry in entries:
            label, others = entry["label"], (entry[key] for key in ("label_id", "score"))
            writer.writerow([csv_cell(video), *entry["segment"], csv_cell(label), *others])
    return stream.getvalue()


def srt_text(events: Events, class_names: Sequence[str]) -> str:
    """SubRip subtitles.

    The form has no way to write its own signs: an invisible word joiner (U+2060) stands behind `<`
    and `{`, which would begin a style, and within `-->`.
    """
    return "".join(
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{_plain_srt(text)}\n\n"
        for number, (start, end, text) in enumerate(_subtitles(events, class_names), 1)
    )


def _plain_srt(text: str) -> str:
    return re.sub(r"[<{]|--(?=>)", "\\g<0>\u2060", text)


def vtt_text(events: Events, class_names: Sequence[str]) -> str:
    """WebVTT subtitles, for a `<track>` of an HTML video."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(start, '.')} --> {_clock(end, '.')}\n{html.escape(text, quote=False)}\n\n"
        for start, end, text in _subtitles(events, class_names)
    )


def audacity_text(events: Events, class_names: Sequence[str]) -> str:
    """A label track for Audacity: start and end in seconds, and the text, separated by tabs."""
    return "".join(f"{c.start:.6f}\t{c.end:.6f}\t{c.text}\n" for c in cues(events, class_names))


def elan_text(
    events: Events, class_names: Sequence[str], media: str = "", film: Path | None = None
) -> str:
    """An ELAN document (EAF 3.0), a tier for each class.

    It names its media, and where the film is known ELAN opens it; else it is linked there.

    Annotations of a tier must not overlap: events of a class that do go to tiers of their own,
    `dog barking`, `dog barking (2)` and so on.

    Args:
        events: of one video, seconds.
        class_names: K names.
        media: the video's id.
        film: its file.
    """
    tiers: dict[str, list[tuple[int, int, str]]] = {}
    owners: dict[str, str] = {}  # a class may itself be called `dog barking (2)`
    for cue in cues(events, class_names):
        start, end = _milliseconds(cue)
        number = 1
        while True:
            name = cue.name if number == 1 else f"{cue.name} ({number})"
            mine = owners.setdefault(name, cue.name) == cue.name
            if mine and (name not in tiers or tiers[name][-1][1] <= start):
                break
            number += 1
        tiers.setdefault(name, []).append((start, end, cue.text))

    times = sorted(
        {time for tier in tiers.values() for start, end, _ in tier for time in (start, end)}
    )
    slots = {time: f"ts{number}" for number, time in enumerate(times, 1)}
    document = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "", "DATE": "1970-01-01T00:00:00+00:00", "FORMAT": "3.0", "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
        },
    )  # fmt: skip
    name = one_line(media if film is None else film.name)
    header = ElementTree.SubElement(document, "HEADER", MEDIA_FILE=name, TIME_UNITS="milliseconds")
    if film is not None:
        kind = mimetypes.guess_type(film.name)[0] or "unknown"
        url = film.absolute().as_uri()
        ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", MEDIA_URL=url, MIME_TYPE=kind)
    order = ElementTree.SubElement(document, "TIME_ORDER")
    for time, slot in slots.items():
        ElementTree.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(time))
    number = 0
    for tier_name, of_tier in sorted(tiers.items()):
        tier = ElementTree.SubElement(
            document, "TIER", LINGUISTIC_TYPE_REF="default-lt", TIER_ID=tier_name
        )
        for start, end, text in of_tier:
            number += 1
            annotation = ElementTree.SubElement(
                ElementTree.SubElement(tier, "ANNOTATION"),
                "ALIGNABLE_ANNOTATION",
                ANNOTATION_ID=f"a{number}",
                TIME_SLOT_REF1=slots[start],
                TIME_SLOT_REF2=slots[end],
            )
            ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = text
    ElementTree.SubElement(
        document,
        "LINGUISTIC_TYPE",
        GRAPHIC_REFERENCES="false",
        LINGUISTIC_TYPE_ID="default-lt",
        TIME_ALIGNABLE="true",
    )
    ElementTree.indent(document)
    return ElementTree.tostring(document, encoding="unicode", xml_declaration=True) + "\n"


Writer = Callable[..., str]
PER_VIDEO: dict[str, tuple[str, Writer]] = {
    "srt": (".srt", srt_text),
    "vtt": (".vtt", vtt_text),
    "audacity": (".txt", audacity_text),
    "elan": (".eaf", elan_text),
}
"""Formats of a file a video: its ending, and what makes its text."""

FORMATS = ("json", "csv", *PER_VIDEO)
FILM_FORMATS = ("html", "mp4")
"""Of films alone, where `loco.runs.player` writes them: a page that plays them, and copies with
captions."""


def check_formats(formats: Sequence[str], films: bool = False) -> None:
    """Refuse formats that there are not, before anything is computed.

    Args:
        formats: names.
        films: whether there are films, not only their features.

    Raises:
        ExportError: names them.
    """
    known = (*FORMATS, *FILM_FORMATS) if films else FORMATS
    unknown = [name for name in formats if name not in known]
    if unknown:
        more = "" if films else f" (and {', '.join(FILM_FORMATS)} with videos=…)"
        raise ExportError(
            f"formats: expected some of {', '.join(known)}{more}, "
            f"got {', '.join(map(str, unknown))}"
        )


def write_predictions(
    folder: str | Path,
    detections: Mapping[str, Events],
    class_names: Sequence[str],
    formats: Sequence[str] = ("json", "csv"),
    min_score: float = 0.0,
    films: Mapping[str, Path] | None = None,
) -> list[Path]:
    """Write detections in several formats; returns the files and folders that it made.

    Args:
        detections: by video, with scores.
        class_names: K names.
        formats: some of `FORMATS`.
        min_score: what scores less is left out.
        films: the files of the videos, where there are films; ELAN opens them.

    Raises:
        ExportError: a format that there is not; an id that is no name of a file, where a format
            has a file a video. Nothing is written then.
        OutputError: a file cannot be written.
    """
    check_formats(formats)
    endings = [PER_VIDEO[name][0] for name in formats if name in PER_VIDEO]
    check_ids(detections, endings)
    folder = Path(folder)
    kept = {video: above(events, min_score) for video, events in sorted(detections.items())}
    written = []
    for name in formats:
        if name == "json":
            written.append(folder / "predictions.json")
            write_json(written[-1], predictions_json(kept, class_names))
        elif name == "csv":
            written.append(folder / "predictions.csv")
            write_text(written[-1], csv_text(kept, class_names))
        else:
            ending, text = PER_VIDEO[name]
            written.append(folder / name)
            for video, events in kept.items():
                more = (video, (films or {}).get(video)) if name == "elan" else ()
                # not by pathlib's with_suffix, which takes the dot of an id for one
                write_text(written[-1] / f"{video}{ending}", text(events, class_names, *more))
    return written


def check_ids(video_ids: Iterable[str], endings: Iterable[str]) -> None:
    """Refuse ids that are no names of files, since they would lead out of their folder.

    Raises:
        ExportError: names the first.
    """
    most = MAX_NAME_BYTES - max(map(len, endings), default=MAX_NAME_BYTES)
    for video_id in video_ids if most else ():
        if not is_file_name(video_id) or len(video_id.encode()) > most:
            raise ExportError(
                f"video {video_id!r:.80}: an id that names files must be without path separators, "
                f"'..' and control characters, of at most {most} bytes"
            )


def above(events: Events, min_score: float) -> Events:
    """The detections that score at least `min_score`."""
    return events if events.scores is None else events[events.scores >= min_score]


def _subtitles(events: Events, class_names: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Milliseconds and text of each cue."""
    for cue in cues(events, class_names):
        yield *_milliseconds(cue), cue.text


def _milliseconds(cue: Cue) -> tuple[int, int]:
    """Start and end; at least one apart, as players and annotators leave out what has no length."""
    start = round(1000 * cue.start)
    return start, max(round(1000 * cue.end), start + 1)


def _clock(milliseconds: int, comma: str) -> str:
    """Hours:minutes:seconds and milliseconds."""
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{comma}{rest:03}"

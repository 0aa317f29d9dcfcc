"""Other tasks on the same videos: what is seen, or what is heard, instead of where both meet.

The generator notes when each source is seen and heard (`sources.json`). Its silent actions are
visual events, its off-screen sounds audio events, and where a source's sound or sight hangs over
its event, the visual or audio event is longer than the audio-visual one. A sound is where it is
heard, early or late as it is (`lag`). Features are the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, get_args

from loco.errors import LocoError
from loco.files import read_json, write_text

EventKind = Literal["both", "visual", "audio"]


def annotations_of(root: Path, events: EventKind) -> Path:
    """The annotation file of a task in a finished folder of synthetic data.

    Raises:
        LocoError: there is no such task.
    """
    if events not in get_args(EventKind):
        raise LocoError(f"data.events: expected {' | '.join(get_args(EventKind))}, got {events!r}")
    return root / ("annotations.json" if events == "both" else f"annotations_{events}.json")


def write_task(root: Path, events: EventKind) -> Path:
    """Write the annotation file of a task beside that of the audio-visual one, from the sources.

    Returns:
        the file; a function of what stands in the folder, so that nothing is lost if it is
        written twice.
    """
    path = annotations_of(root, events)
    if events == "both":
        return path
    content = read_json(root / "annotations.json")
    sources = read_json(root / "sources.json")
    database: dict[str, dict[str, Any]] = content["database"]
    names = {a["label_id"]: a["label"] for v in database.values() for a in v["annotations"]}
    for video, entry in database.items():
        found = [
            {"segment": segment, "label": names[label], "label_id": label}
            for source in sources[video]
            if (segment := _segment(source, events, entry["duration"]))
            and (label := source["label_id"]) in names
        ]
        entry["annotations"] = sorted(found, key=lambda a: (*a["segment"], a["label_id"]))
    text = json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text, shared=True)  # by the jobs of a sweep
    return path


def _segment(source: dict[str, Any], events: EventKind, duration: float) -> list[float] | None:
    """When a source is seen, or heard, in seconds; None where it never is."""
    if not source[events]:
        return None
    lag = source["lag"] if events == "audio" else 0.0
    start, end = (min(max(round(time + lag, 3), 0.0), duration) for time in source[events])
    return [start, end] if end > start else None

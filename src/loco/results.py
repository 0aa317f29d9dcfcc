"""What a run leaves behind: metrics.json, predictions.json, and tables for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from loco.structures import Events

TABLE_COLUMNS = ("mAP@0.5", "mAP@0.6", "mAP@0.7", "mAP@0.8", "mAP@0.9", "mAP")


def predictions_json(
    detections: Mapping[str, Events], class_names: Sequence[str]
) -> dict[str, Any]:
    """Detections in UnAV-100's form: `database`: video → [{segment, label, label_id, score}]."""
    return {
        "version": "loco",
        "database": {
            video_id: [
                {
                    "segment": [round(start, 4), round(end, 4)],
                    "label": class_names[label],
                    "label_id": label,
                    "score": round(score, 6),
                }
                for (start, end), label, score in zip(
                    events.segments.tolist(),
                    events.labels.tolist(),
                    [] if events.scores is None else events.scores.tolist(),
                    strict=True,
                )
            ]
            for video_id, events in sorted(detections.items())
        },
    }


def write_json(path: Path, content: Any) -> None:
    """Write JSON by way of a temporary file, so that a killed run leaves no half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(path.suffix + ".part")
    unfinished.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    unfinished.replace(path)


def json_number(value: float) -> float | None:
    """A float that JSON can hold: null for NaN."""
    return None if math.isnan(value) else value


def metrics_table(
    rows: Mapping[str, Mapping[str, float]], title: str, columns: Sequence[str] = TABLE_COLUMNS
) -> Table:
    """A table of mAP in percent, a row for each system."""
    table = Table(title=title, caption="percent; Avg. is over tIoU 0.1, 0.2, …, 0.9")
    table.add_column("", justify="left")
    for column in columns:
        table.add_column(
            "Avg." if column == "mAP" else column.removeprefix("mAP@"), justify="right"
        )
    for name, metrics in rows.items():
        table.add_row(name, *(f"{100 * metrics[column]:.2f}" for column in columns))
    return table


def detections_table(
    video_id: str, events: Events, class_names: Sequence[str], max_rows: int = 10
) -> Table:
    """The best detections of a video, for people."""
    shown = f"best {max_rows} of {len(events)} detections" if len(events) > max_rows else None
    table = Table(title=video_id, caption=shown, title_justify="left")
    for column in ("start (s)", "end (s)", "score"):
        table.add_column(column, justify="right")
    table.add_column("event", justify="left")
    best = events[:max_rows]
    scores = [] if best.scores is None else best.scores.tolist()
    for (start, end), label, score in zip(
        best.segments.tolist(), best.labels.tolist(), scores, strict=True
    ):
        table.add_row(f"{start:.2f}", f"{end:.2f}", f"{score:.3f}", class_names[label])
    return table


def show(table: Table) -> None:
    """Print a table, wide enough when the output is a file."""
    console = Console()
    Console(width=max(console.width, 100) if not console.is_terminal else None).print(table)

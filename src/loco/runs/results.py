"""What a run leaves behind: metrics.json, predictions.json, and tables for people."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.table import Table

from loco.data.annotations import Video
from loco.data.datamodule import AVDataModule
from loco.errors import IncompleteError
from loco.evaluation.baselines import baseline_metrics
from loco.evaluation.diagnosis import diagnose
from loco.evaluation.matching import Columns
from loco.evaluation.metrics import DEFAULT_THRESHOLDS, average_precision
from loco.files import write_text
from loco.runs.text import console
from loco.structures import Events
from loco.training.module import LocalizationModule

MISTAKES = {
    "true_positive": "right",
    "double": "found before",
    "wrong_label": "wrong class",
    "localization": "wrong place",
    "confusion": "wrong place and class",
    "background": "background",
}
"""What the best predictions are, as tables and figures call what `diagnose` does."""

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
    """Write JSON, see `write_text`."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def evaluation_columns(detections: Mapping[str, Events], videos: Sequence[Video]) -> Columns:
    """Detections and ground truth of the same videos as the arguments of `average_precision`."""
    found = [detections[video.id] for video in videos]
    true = [video.events for video in videos]
    scores = [events.scores.numpy() for events in found if events.scores is not None]
    pred_video, pred_segments, pred_labels = _flat(found)
    gt_video, gt_segments, gt_labels = _flat(true)
    return Columns(
        pred_video=pred_video, pred_segments=pred_segments, pred_labels=pred_labels,
        pred_scores=np.concatenate([np.zeros(0), *scores]),
        gt_video=gt_video, gt_segments=gt_segments, gt_labels=gt_labels,
    )  # fmt: skip


def _flat(videos: Sequence[Events]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Video (N,), segments (N, 2) and labels (N,) of all videos, one after another."""
    return (
        np.repeat(np.arange(len(videos)), [len(events) for events in videos]),
        np.concatenate([np.zeros((0, 2)), *(events.segments.numpy() for events in videos)]),
        np.concatenate([np.zeros(0, dtype=int), *(events.labels.numpy() for events in videos)]),
    )


def detailed_metrics(
    detections: Mapping[str, Events], videos: Sequence[Video], class_names: Sequence[str]
) -> dict[str, Any]:
    """What metrics.json holds besides the mAP: AP of each class, and where mAP is lost.

    Returns:
        `per_class`: class name → AP at each tIoU and their average, null without ground truth;
        `diagnosis`: see `loco.evaluation.diagnosis.diagnose`.
    """
    columns = evaluation_columns(detections, videos)
    matrix = average_precision(
        **columns, tiou_thresholds=DEFAULT_THRESHOLDS, num_classes=len(class_names)
    )
    per_class = {
        name: {"mAP": json_number(float(of_class.mean()))}
        | {
            f"mAP@{threshold:.12g}": json_number(float(value))
            for threshold, value in zip(DEFAULT_THRESHOLDS, of_class, strict=True)
        }
        for name, of_class in zip(class_names, matrix.T, strict=True)
    }
    return {
        "per_class": per_class,
        "diagnosis": diagnose(columns, num_classes=len(class_names)),
    }


def json_number(value: float) -> float | None:
    """A float that JSON can hold: null for NaN."""
    return None if math.isnan(value) else value


def metrics_table(
    rows: Mapping[str, Mapping[str, float]],
    title: str,
    columns: Sequence[str] = TABLE_COLUMNS,
    tested: str = "",
) -> Table:
    """A table of mAP in percent, a row for each system; its caption says what was tested."""
    caption = "percent; Avg. is over tIoU 0.1, 0.2, …, 0.9"
    table = Table(title=title, caption=f"{caption}\ntested: {tested}" if tested else caption)
    table.add_column("", justify="left", overflow="fold")
    for column in columns:
        table.add_column(
            "Avg." if column == "mAP" else column.removeprefix("mAP@"), justify="right"
        )
    for name, metrics in rows.items():
        table.add_row(name, *(percent(metrics[column], 2) for column in columns))
    return table


def diagnosis_table(diagnosis: Mapping[str, Any]) -> Table:
    """Where the mAP is lost: by kind of event, by kind of mistake, by predictions a video."""
    table = Table(
        title=f"where it is lost, at tIoU {diagnosis['tiou']:g}", caption="percent of the events"
    )
    table.add_column("")
    for column in ("events", "mAP", "missed"):
        table.add_column(column, justify="right")
    short, long = diagnosis["lengths"]
    names = {"short": f"short, ≤ {short:g} s", "long": f"long, ≥ {long:g} s"}
    names |= {bucket: f"{bucket} in the video" for bucket in diagnosis["by_events_in_video"]}
    rows = {"all events": diagnosis}
    for group in ("by_length", "by_events_in_video", "by_overlap"):
        rows |= {names.get(bucket, bucket): values for bucket, values in diagnosis[group].items()}
    for name, values in rows.items():
        shares = (percent(values[key]) for key in ("mAP", "missed"))
        table.add_row(name, str(values["num_events"]), *shares)
    return table


def mistakes_line(diagnosis: Mapping[str, Any]) -> str:
    """What the best predictions are, and the recall at N predictions a video, in two lines."""
    kinds = ", ".join(
        f"{label} {percent(diagnosis['predictions'][name])}" for name, label in MISTAKES.items()
    )
    recall = ", ".join(f"{percent(value)} at {n}" for n, value in diagnosis["recall_at"].items())
    return (
        f"of the best {diagnosis['predictions']['num_rated']} predictions (%): {kinds}\n"
        f"recall (%) at N predictions a video: {recall}"
    )


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction in percent, a dash where there is none: mAP in tables has two digits."""
    if fraction is None or math.isnan(fraction):
        return "–"
    return f"{100 * fraction:.{digits}f}"


def counted(number: int, what: str) -> str:
    """A number of things, such as "1 video"."""
    return f"{number} {what}{'s' * (number != 1)}"


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
    plain = console()
    console(width=None if plain.is_terminal else max(plain.width, 100)).print(table)


def show_beside_baselines(
    data: AVDataModule, videos: Sequence[Video], metrics: Mapping[str, Mapping[str, float]],
    title: str, tested: str,
) -> None:  # fmt: skip
    """Print the mAP of tests below that of two answers that need no model.

    Args:
        data: of the test.
        videos: that were tested.
        metrics: of each test, by the name of its row.
        title: of the table, which the number of videos is added to.
        tested: the checkpoint, or several, in words.
    """
    train = [video for video in (data.annotations or {}).values() if video.subset == "train"]
    rows = baseline_metrics(train, videos, data.num_classes) | dict(metrics)
    show(metrics_table(rows, f"{title}, {len(videos)} videos", tested=tested))


def videos_of(data: AVDataModule, stage: Literal["train", "test"]) -> list[Video]:
    """The annotated videos that a stage uses."""
    annotations: dict[str, Video] = data.annotations or {}
    return [annotations[video_id] for video_id in data.dataset(stage).video_ids]


def tested_videos(data: AVDataModule, module: LocalizationModule) -> list[Video]:
    """The videos of the last test: all of the split, unless the trainer was told to do fewer."""
    return [video for video in videos_of(data, "test") if video.id in module.detections]


def test_metrics(module: LocalizationModule) -> dict[str, float]:
    """What the module's metric says of the last test, in float64."""
    return {name: float(value) for name, value in module.metric.compute().items()}


def write_results(
    output: Path, module: LocalizationModule, metrics: dict[str, float], videos: list[Video]
) -> None:
    """metrics.json and predictions.json in a run's folder; says where mAP is lost."""
    detailed = detailed_metrics(module.detections, videos, module.class_names)
    headline = {name: json_number(value) for name, value in metrics.items()}
    write_json(output / "predictions.json", predictions_json(module.detections, module.class_names))
    write_json(output / "metrics.json", headline | detailed)  # the last one says: finished
    show(diagnosis_table(detailed["diagnosis"]))
    print(mistakes_line(detailed["diagnosis"]))


def tell_incomplete(
    data: AVDataModule,
    stage: Literal["test", "predict"],
    found: Collection[str],
    failed: Mapping[str, str] | None = None,
) -> None:
    """Say at the end which videos are missing from the results, since their files are unusable.

    Args:
        data: of which they are.
        stage: of the data.
        found: ids of those that are not missing.
        failed: id → why, of videos that have no feature files.

    Raises:
        IncompleteError: names them; the results of the others are written by then.
    """
    lost = data.unusable(set(data.dataset(stage).video_ids) - set(found)) | dict(failed or {})
    if lost:
        raise IncompleteError(
            f"{len(lost)} of {len(lost) + len(found)} videos could not be used:\n"
            + "\n".join(f"  {lost[video]}" for video in sorted(lost))
        )

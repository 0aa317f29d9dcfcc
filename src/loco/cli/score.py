"""Score predictions against annotations, whoever made them, and compare several of them.

A file of predictions is this suite's predictions.json (also UnAV-100's form), ActivityNet's
{"results": …}, the columns video-id, t-start, t-end, label, score of ActionFormer's descendants as
JSON, or a .csv. All videos of the subset count: one that a file does not name has no detections.

loco score predictions.json --annotations data/synthetic/annotations.json
loco score ours.json theirs.json --annotations unav100.json
loco score theirs.json --annotations unav100.json --subset validation --output metrics.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loco.cli.configs import seed
from loco.errors import LocoError

if TYPE_CHECKING:
    from loco.data.annotations import Annotations, Video
    from loco.runs.predictions import Matched


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    args = _parser().parse_args(arguments)
    if args.resamples < 0:
        raise LocoError(f"--resamples: expected 0 or more, got {args.resamples}")
    if args.output is not None and len(args.predictions) > 1:
        raise LocoError("--output is of one file of predictions; several are a table alone")

    from loco.data.annotations import read_annotations
    from loco.runs.predictions import match_videos, read_predictions
    from loco.runs.results import (
        detailed_metrics,
        diagnosis_table,
        mistakes_line,
        show,
        write_json,
    )

    annotations = read_annotations(args.annotations)
    names = annotations.class_names
    found: dict[str, Matched] = {}
    for path in args.predictions:
        predictions = read_predictions(path, names)
        found[str(path)] = match_videos(path, predictions, annotations, args.subset)
    videos = next(iter(found.values())).videos
    for path, matched in found.items():
        _tell(path, matched, args.subset)
    if len(found) == 1:
        detections = next(iter(found.values())).detections
        detailed = detailed_metrics(detections, videos, names)
        show(diagnosis_table(detailed["diagnosis"]))
        print(mistakes_line(detailed["diagnosis"]))
    metrics = _show_table(found, videos, annotations, args)
    if args.output is not None:
        write_json(args.output, metrics | detailed)
        print(f"{args.output}: the figures as a run's metrics.json has them")
    return 0


def _tell(path: str, matched: Matched, subset: str) -> None:
    """Say which videos are missing, and which do not count."""
    for videos, what in (
        (matched.without, f"of {len(matched.videos)} {subset} videos are not in it and count as "
                          "without detections"),
        (matched.ignored, f"videos of it are not in subset {subset!r} and do not count"),
    ):  # fmt: skip
        if videos:
            more = ", …" if len(videos) > 3 else ""
            names = ", ".join(map(repr, videos[:3]))
            print(f"{path}: {len(videos)} {what} ({names}{more})", file=sys.stderr)


def _show_table(
    found: dict[str, Matched],
    videos: list[Video],
    annotations: Annotations,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Print the mAP of each file and of the baselines; returns that of the last file."""
    from loco.evaluation.baselines import baseline_metrics
    from loco.evaluation.metrics import DetectionMAP
    from loco.runs.results import json_number, metrics_table, show

    num_classes = len(annotations.class_names)
    train = [video for video in annotations.values() if video.subset == "train"]
    rows = baseline_metrics(train, videos, num_classes)
    for path, matched in found.items():
        metric = DetectionMAP(num_classes)
        metric.update([matched.detections[video.id] for video in videos],
                      [video.events for video in videos])  # fmt: skip
        rows[path] = {name: float(value) for name, value in metric.compute().items()}
    show(metrics_table(rows, f"{args.subset} mAP, {len(videos)} videos"))
    if len(found) > 1 and args.resamples:
        scores = [rows[path]["mAP"] for path in found]
        _show_differences(found, scores, videos, args)
    return {name: json_number(value) for name, value in rows[path].items()}


def _show_differences(
    found: dict[str, Matched], scores: list[float], videos: list[Video], args: argparse.Namespace
) -> None:
    """Print how much each file's mAP is above the first one's, with an interval over videos."""
    from rich.progress import Progress

    from loco.evaluation.bootstrap import WeightedMAP, paired_differences
    from loco.runs.results import evaluation_columns
    from loco.runs.text import console

    columns = [evaluation_columns(matched.detections, videos) for matched in found.values()]
    runs = [WeightedMAP(of_file, len(videos)) for of_file in columns]
    with Progress(console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("resampling videos", total=args.resamples)
        gaps = paired_differences(
            runs, scores, range(len(runs)), 0, args.resamples, args.seed, lambda: bar.advance(task)
        )
    paths = list(found)
    for i, gap in sorted(gaps.items()):
        print(f"{paths[i]}: average {100 * gap.mean:+.2f} over {paths[0]} "
              f"(95 % over videos: {100 * gap.low:+.2f} to {100 * gap.high:+.2f})")  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loco score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("predictions", type=Path, nargs="+", help="files of predictions; others than the first "
        "are compared to it")  # fmt: skip
    add("--annotations", type=Path, required=True, metavar="FILE", help="in UnAV-100's form")
    add("--subset", default="test", help="whose videos are scored (default: %(default)s)")
    add("--output", type=Path, metavar="FILE", help="also write the figures as JSON")
    add("--resamples", type=int, default=1000, help="of the bootstrap; 0: no intervals "
        "(default: %(default)s)")  # fmt: skip
    add("--seed", type=seed, default=0, help="of the bootstrap (default: %(default)s)")
    return parser

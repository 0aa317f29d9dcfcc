"""Rows of a sweep as what figures and pages of a whole sweep show."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from loco.runs.logs import Curve, read_log
from loco.sweeps.tabulate import Row

EVERY_TIOU = (*(f"mAP@0.{i}" for i in range(1, 10)), "mAP")


def label(row: Row) -> str:
    """What tells a row from the others, short enough for a legend: its values alone."""
    return " · ".join(row.settings.values()) or "this run"


def mean_metrics(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """The mAPs of each row that has a result, means over its seeds, by the row's label."""
    means: dict[str, dict[str, float]] = {}
    for row in rows:
        values = {name: [v for v in row.values(name) if not math.isnan(v)] for name in EVERY_TIOU}
        if all(values.values()):
            means[label(row)] = {k: statistics.fmean(v) for k, v in values.items()}
    return means


def row_logs(rows: Sequence[Row]) -> dict[str, dict[str, Curve]]:
    """The logged curves of each row's first finished job that has a log, by the row's label."""
    logs = {}
    for row in rows:
        paths = (job.folder / "logs" / "metrics.csv" for job in row.finished)
        if path := next(filter(Path.is_file, paths), None):
            logs[label(row)] = read_log(path)
    return logs

"""Rows of a sweep as what figures and pages of a whole sweep show."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from loco.errors import listed
from loco.runs.logs import Curve, read_log
from loco.sweeps.job_record import OPTIONS
from loco.sweeps.origin import short_commit
from loco.sweeps.tabulate import Difference, Row, Table

EVERY_TIOU = (*(f"mAP@0.{i}" for i in range(1, 10)), "mAP")


def label(row: Row) -> str:
    """What tells a row from the others, short enough for a legend: its values alone."""
    return " · ".join(row.settings.values()) or "this run"


def caution(rows: Sequence[Row]) -> str:
    """What to beware of where rows were tested on different events, or made by different code.

    Features may differ: comparing them is what a study may be about.
    """
    return "; ".join(text for text in (_other_events(rows), _other_code(rows)) if text)


def _other_code(rows: Sequence[Row]) -> str:
    noted = [job.provenance.get("git") for row in rows for job in row.finished]
    jobs = Counter(short_commit(str(commit)) for commit in noted if commit)
    if len(jobs) < 2:
        return ""
    told = listed([f"{commit} ({n} of the jobs)" for commit, n in jobs.most_common()], 3)
    return f"the jobs are of different versions of the code: {told}"


def _other_events(rows: Sequence[Row]) -> str:
    groups: dict[str, list[str]] = {}
    for row in rows:
        if row.finished and isinstance(data := row.finished[0].provenance.get("data"), dict):
            videos = data.get("videos") or {}
            test = f"{data.get('annotations')} {videos.get('test')}"
            groups.setdefault(test, []).append(label(row))
    if len(groups) < 2:
        return ""
    told = "; ".join(listed(names, 3) for names in groups.values())
    return f"rows were tested on different events, so that their scores do not compare: {told}"


def mean_metrics(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """The mAPs of each row that has a result, means over its seeds, by the row's label."""
    means: dict[str, dict[str, float]] = {}
    for row in rows:
        values = {name: [v for v in row.values(name) if not math.isnan(v)] for name in EVERY_TIOU}
        if all(values.values()):
            means[label(row)] = {k: statistics.fmean(v) for k, v in values.items()}
    return means


def differences_by_name(table: Table) -> dict[str, Difference]:
    """How much more each row reaches than the table's reference, by what it has otherwise."""
    if table.differences is None or table.reference is None:
        return {}
    reference = table.rows[table.reference]
    rows = [table.rows[i] for i in table.differences]
    names = [_beside(row, reference) for row in rows]
    if len({*names}) < len(names):  # the same value of two settings
        names = [row.name for row in rows]
    return dict(zip(names, table.differences.values(), strict=True))


def reference_name(row: Row) -> str:
    """A reference in a title: its label where there is room for it."""
    return label(row) if len(label(row)) <= 24 else "the reference"


def _beside(row: Row, reference: Row) -> str:
    """The values that a reference has not: `global`, or `without batch_8` of a list of options."""
    words = []
    for key, value in row.settings.items():
        other = reference.settings[key]
        if value == other:
            continue
        if OPTIONS.fullmatch(value) and OPTIONS.fullmatch(other):
            own, theirs = (text.strip("[]").split(",") for text in (value, other))
            items = [f"without {name}" for name in theirs if name not in own]
            items += [f"with {name}" for name in own if name not in theirs]
            words += items or [value]
        else:
            words.append(value)
    return " · ".join(words)


def row_logs(rows: Sequence[Row]) -> dict[str, dict[str, Curve]]:
    """The logged curves of each row's first finished job that has a log, by the row's label."""
    return {label(row): logs[0] for row in rows if (logs := seed_logs(row))}


def seed_logs(row: Row) -> list[dict[str, Curve]]:
    """The logged curves of each finished job of a row that has a log."""
    paths = (job.folder / "logs" / "metrics.csv" for job in row.finished)
    return [read_log(path) for path in paths if path.is_file()]


def mean_diagnosis(row: Row) -> dict[str, Any]:
    """Where the mAP of a row is lost, means over its seeds."""
    from loco.runs.run_folder import RunFolder  # here, as it imports torch

    mean: dict[str, Any] = _mean(
        [RunFolder(job.folder).details["diagnosis"] for job in row.finished]
    )
    return mean


def _mean(values: Sequence[Any]) -> Any:
    """Of numbers, also of those within dicts; of anything else the first."""
    first = values[0]
    if isinstance(first, dict):
        return {key: _mean([value[key] for value in values if key in value]) for key in first}
    numbers = [value for value in values if isinstance(value, int | float)]
    if not numbers:
        return first
    mean = statistics.fmean(numbers)
    return round(mean) if all(isinstance(number, int) for number in numbers) else mean

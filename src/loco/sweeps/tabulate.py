"""Sweeps as the tables of a paper: a row for each setting, mean ± deviation over its seeds."""

from __future__ import annotations

import difflib
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from loco.errors import LocoError
from loco.runs.folders import UNNAMED
from loco.runs.job_status import NOT_NOTED, job_folders, status
from loco.sweeps.columns import (
    COST_COLUMNS,
    COUNTED,
    MAP_COLUMNS,
    TRAINING_COST_COLUMNS,
    Column,
)
from loco.sweeps.job_record import Job, plain_text

if TYPE_CHECKING:
    import pandas

# may differ between jobs that are repetitions of one another
INCIDENTAL = (
    "experiment", "resume_sweep", "reuse", "report", "logger", "callbacks", "hydra/launcher",
)  # fmt: skip


@dataclass
class Row:
    """The jobs that differ in nothing but the seed.

    Attributes:
        settings: what tells this row from the others, by key.
        finished: a job for each seed.
        failed, unfinished: seeds that have no result.
        figures: of an answer that needs no job, its results.
    """

    settings: dict[str, str]
    finished: list[Job] = field(default_factory=list)
    failed: int = 0
    unfinished: int = 0
    figures: dict[str, float] | None = None

    @property
    def name(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self.settings.items())

    def values(self, result: str) -> list[float]:
        """A result of each finished job."""
        if self.figures is not None:
            return [self.figures.get(result, math.nan)]
        return [job.result(result) for job in self.finished]


def read_jobs(folders: Sequence[Path]) -> list[Job]:
    """The jobs in folders of sweeps, or of single runs.

    Raises:
        LocoError: there is none in one of them.
    """
    jobs = []
    for folder in folders:
        single = (folder / ".hydra" / "overrides.yaml").is_file()
        if single and status(folder) == "unfinished" and any(folder.glob("*/metrics.json")):
            raise LocoError(
                f"{folder}: a test of several runs, which `loco evaluate` tabulates; expected the "
                "folder of a sweep or a run"
            )
        found = [folder] if single else job_folders(folder)
        if not found:
            what = "found no job in it" if folder.is_dir() else "there is none"
            raise LocoError(f"{folder}: expected the folder of a sweep or a run, {what}")
        jobs += [Job(path) for path in found]
    return jobs


def make_rows(jobs: Sequence[Job], by: Sequence[str] = ()) -> list[Row]:
    """Group jobs by the overrides that differ between them, all but the seed.

    Args:
        jobs: in the order that the rows shall have.
        by: more settings to group by.

    Raises:
        LocoError: two jobs of a row differ in more than the seed, were of other data, or have the
            same seed and other results; no job has a setting of `by`.
    """
    known = {key for job in jobs for key in (*job.overrides, *job.settings)} if by else set()
    if unknown := [key for key in by if key not in known]:
        near = difflib.get_close_matches(unknown[0], known, 4, 0)
        raise LocoError(f"--by {unknown[0]}: no job has it; there are {', '.join(near)} and others")
    keys = dict.fromkeys(key for job in jobs for key in job.overrides if key not in UNNAMED)
    keys = {k: None for k in keys if k != "seed" and len({job.value(k) for job in jobs}) > 1}
    keys |= dict.fromkeys(by)
    grouped: dict[tuple[str, ...], dict[str, list[Job]]] = {}
    for job in jobs:
        label = tuple(job.value(key) for key in keys)
        grouped.setdefault(label, {}).setdefault(job.seed, []).append(job)
    rows = []
    for label, seeds in grouped.items():
        row = Row(dict(zip(keys, label, strict=True)))
        for same in seeds.values():
            if finished := [job for job in same if job.status == "finished"]:
                row.finished.append(finished[-1])
                _check_same(finished[-1], finished)
            elif any(job.status == "failed" for job in same):
                row.failed += 1
            else:
                row.unfinished += 1
        if row.finished:
            _check_same(row.finished[0], row.finished)
        rows.append(row)
    return rows


def _check_same(first: Job, others: Sequence[Job]) -> None:
    """Refuse to take jobs for repetitions of one another that are not."""
    for other in others:
        what = "row and seed" if first.seed == other.seed else "row"
        both = f"{first.folder} and {other.folder} would be the same {what}, but"
        if differing := _differing(first, other):
            raise LocoError(
                f"{both} differ in {', '.join(differing)}; --by {differing[0]} makes them rows of "
                "their own"
            )
        if first.settings_in_turn != other.settings_in_turn:
            # of an earlier version's runs nobody knows
            parts = [
                job
                for job in (first, other)
                if len(known := job.settings_in_turn) > 1
                and not any(one.startswith(NOT_NOTED) for one in known)
            ]
            if parts:
                raise LocoError(
                    f"{both} {parts[0].folder.name} was resumed with other settings than it began "
                    "with; leave it out"
                )
        data = [job.provenance.get("data") for job in (first, other)]
        if None not in data and data[0] != data[1]:
            raise LocoError(
                f"{both} are of different data, by what their provenance.json notes; --by "
                "data.root makes them rows of their own if that tells them apart"
            )
        # as text, since no NaN equals another
        if first.seed == other.seed and str(first.results) != str(other.results):
            raise LocoError(f"{both} have different results; leave one of them out")


def _differing(first: Job, other: Job) -> list[str]:
    """The settings in which jobs differ, beside the seed and where their data lies."""
    ours, theirs = first.settings, other.settings
    skipped = {*INCIDENTAL, *UNNAMED, "seed"}
    differing = [
        key
        for key in sorted(ours.keys() | theirs.keys())
        if key not in skipped and ours.get(key) != theirs.get(key)
    ]
    # of a repeated test, the net
    tested = [job.provenance.get("checkpoint") for job in (first, other)]
    return ["ckpt_path", *differing] if tested[0] != tested[1] else differing


def columns_of(
    rows: Sequence[Row], extra: Sequence[str] = (), only: bool = False
) -> tuple[Column, ...]:
    """mAP, or for measured costs these.

    Args:
        rows: what the table holds.
        extra: results, or logged curves (`NAME` is the last value, `max NAME` the highest), that
            come first; costs of the training (`parameters`, `gflop`, `epoch_s`) come last.
        only: these and nothing of the test, such as while validation chooses.

    Raises:
        LocoError: no finished job has one of them.
    """
    finished = [job for row in rows for job in row.finished]
    for name in extra:
        if finished and all(math.isnan(job.result(name)) for job in finished):
            job = finished[0]
            known = sorted({*job.results, *job.cost, *job.logged})
            raise LocoError(f"--column {name}: no job has it; there are: {', '.join(known)}")
    costs = {column.result: column for column in TRAINING_COST_COLUMNS}
    first = tuple(
        Column(name, name.removeprefix("mAP@"))
        if "mAP" in name
        else Column(name, name, 1.0, None, 3)
        for name in extra
        if name not in costs
    )
    last = tuple(costs[name] for name in extra if name in costs)
    if only:
        return first + last
    if finished and all("gflop" in job.results for job in finished):
        return first + COST_COLUMNS
    return first + MAP_COLUMNS + last


@dataclass(frozen=True)
class Difference:
    """How much more a row reaches than the reference, in fractions, and its 95 % interval.

    Attributes:
        low, high: NaN where there is no interval, as of one seed if the seeds count.
        seeds: how many both rows have, which are compared; 0: none, so all of both are. None where
            nobody counted.
    """

    mean: float
    low: float
    high: float
    seeds: int | None = None

    @property
    def certain(self) -> bool:
        """Whether the interval misses 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Table:
    """What is rendered."""

    rows: Sequence[Row]
    columns: Sequence[Column]
    differences: Mapping[int, Difference] | None = None
    reference: int | None = None
    over_seeds: bool = False
    """Whether the differences' intervals are of the choice of the seeds, too."""

    @property
    def keys(self) -> list[str]:
        return list(self.rows[0].settings) if self.rows else []

    @property
    def score(self) -> Column:
        """The column that sums a row up: average mAP, else the last one."""
        return next((c for c in self.columns if c.result == "mAP"), self.columns[-1])

    @property
    def unit(self) -> str:
        """What the numbers are, for a caption."""
        percent = any("mAP" in column.result for column in self.columns)
        return "mAP in percent" if percent else "What the models cost"

    def mean(self, row: Row, column: Column) -> float:
        """Of the seeds, as shown; NaN without any."""
        values = row.values(column.result)
        return statistics.fmean(values) * column.scale if values else math.nan

    def deviation(self, row: Row, column: Column) -> float | None:
        """Sample standard deviation over the seeds, as shown; None for one, or if one lacks it.

        What is counted, not measured, has none either where all seeds agree.
        """
        values = row.values(column.result)
        if len(values) < 2 or any(map(math.isnan, values)):
            return None
        if column in COUNTED and len(set(values)) == 1:
            return None
        return statistics.stdev(values) * column.scale

    def records(self) -> list[dict[str, str | float | None]]:
        """A flat dict a row, as CSV, JSON and data frames have it: fractions, not rounded.

        Settings, numbers of jobs, each result's mean and `… deviation`, the difference to the
        reference and its interval; None where there is no number.
        """
        found = []
        for i, row in enumerate(self.rows):
            record: dict[str, str | float | None] = {**row.settings, "seeds": len(row.finished)}
            record |= {"failed": row.failed, "unfinished": row.unfinished}
            for column in self.columns:
                mean, deviation = self.mean(row, column), self.deviation(row, column)
                record[column.result] = None if math.isnan(mean) else mean / column.scale
                name = f"{column.result} deviation"
                record[name] = None if deviation is None else deviation / column.scale
            if self.differences is not None:
                gap = self.differences.get(i)
                for end in ("mean", "low", "high", "seeds"):
                    value = getattr(gap, end, None)
                    name = f"difference {end}".removesuffix(" mean")
                    record[name] = None if value is None or math.isnan(value) else value
            found.append(record)
        return found

    def to_dataframe(self) -> pandas.DataFrame:
        """The records as a data frame, NaN for None; a LocoError where pandas is not installed."""
        try:
            import pandas
        except ImportError:
            raise LocoError("Table.to_dataframe needs pandas: pip install pandas") from None
        frame = pandas.DataFrame.from_records(self.records())
        return frame.astype(dict.fromkeys(frame.columns[len(self.keys) + 3 :], float))

    def is_best(self, row: Row, column: Column) -> bool:
        """Whether no row has a better mean and some a worse one, to the digits that are shown.

        What needs no model, and may know the answer, does not compete.
        """
        if row.figures is not None:
            return False
        trained = [other for other in self.rows if other.figures is None]
        shown = [round(self.mean(other, column), column.digits) for other in trained]
        valid = [value for value in shown if not math.isnan(value)]
        own = round(self.mean(row, column), column.digits)
        if column.best is None:
            return False
        return len(set(valid)) > 1 and own == column.best(valid)


def find_row(rows: Sequence[Row], reference: str) -> int:
    """The row that a reference such as `attention=fixed` names, several settings by commas.

    Raises:
        LocoError: it is not exactly one.
    """
    # at commas before a KEY=, as those of a list or of a mapping separate no settings
    parts = re.split(r",(?=\s*[\w.@/]+=)", reference)
    wanted = dict(part.strip().partition("=")[::2] for part in parts)
    found = [
        i
        for i, row in enumerate(rows)
        if all(row.settings.get(key) == plain_text(value) for key, value in wanted.items())
    ]
    if len(found) != 1:
        names = "; ".join(row.name for row in rows)
        raise LocoError(f"reference {reference}: fits {len(found)} rows, expected one of: {names}")
    return found[0]

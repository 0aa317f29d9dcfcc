"""Differences between rows of a table, paired over the test videos."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from loco.data.annotations import Annotations, read_annotations
from loco.errors import AnnotationError, LocoError
from loco.evaluation.bootstrap import WeightedMAP, resampled
from loco.runs.results import evaluation_columns
from loco.runs.run_folder import RunFolder
from loco.sweeps.tabulate import Difference, Job, Row


def differences(
    rows: Sequence[Row],
    reference: int,
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> dict[int, Difference]:
    """Each row's mean mAP over its seeds less that of the reference, with a 95 % interval.

    The interval is of the choice of test videos alone; all rows see the same resamples.

    Returns:
        by the row's number; rows without a finished job, and the reference, have none.

    Raises:
        LocoError: the reference has no finished job; files are missing, or runs were tested on
            different videos.
    """
    if resamples < 1:
        raise LocoError(f"resamples must be at least 1, got {resamples}")
    if not rows[reference].finished:
        raise LocoError(f"reference {rows[reference].name}: no job of it is finished")
    numbered = [(i, job) for i, row in enumerate(rows) for job in row.finished]
    runs = _read([job for _, job in numbered])
    values = resampled(runs, resamples, seed, progress)
    owner = np.array([i for i, _ in numbered])
    result = {}
    for i in dict.fromkeys(owner.tolist()):
        if i == reference:
            continue
        gaps = values[owner == i].mean(0) - values[owner == reference].mean(0)
        low, high = np.nanpercentile(gaps, [2.5, 97.5])
        means = [statistics.fmean(rows[row].values("mAP")) for row in (i, reference)]
        result[i] = Difference(means[0] - means[1], float(low), float(high))
    return result


def _read(jobs: Sequence[Job]) -> list[WeightedMAP]:
    known: dict[Path, Annotations] = {}
    runs: list[WeightedMAP] = []
    tested: list[str] = []
    for job in jobs:
        run = RunFolder(job.folder)
        path = run.data.annotations_path
        if path is None:
            raise AnnotationError(f"{job.folder}: its config names no annotation file")
        annotations = known.get(path) or known.setdefault(path, read_annotations(path))
        videos = sorted(run.predictions)
        unknown = [video for video in videos if video not in annotations]
        if unknown:
            raise LocoError(
                f"{path}: has no video {unknown[0]!r}, which {job.folder} was tested on"
            )
        if runs and videos != tested:
            raise LocoError(f"{job.folder} was tested on other videos than {jobs[0].folder}")
        tested = videos
        columns = evaluation_columns(run.predictions, [annotations[video] for video in videos])
        runs.append(WeightedMAP(columns, len(videos)))
    return runs

"""Runs compared: differences of their mAP, paired over the test videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from loco.data.annotations import Annotations, Video, read_annotations
from loco.errors import AnnotationError, LocoError
from loco.evaluation.baselines import baseline_answers, baseline_metrics
from loco.evaluation.bootstrap import WeightedMAP, paired_differences
from loco.runs.results import evaluation_columns
from loco.runs.run_folder import RunFolder


def differences(
    groups: Sequence[Sequence[Path]],
    reference: int,
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
    *,
    over_seeds: bool = False,
    baselines: bool = False,
) -> dict[int, tuple[float, float, float]]:
    """Each group's mean mAP less that of the reference, with a 95 % interval.

    The interval is of the choice of test videos; all groups see the same resamples.

    Args:
        groups: folders of finished runs; those of a group differ in nothing but the seed.
        reference: number of the group that the others are compared to.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        progress: called after each resample.
        over_seeds: the interval is of the choice of the runs of each group, too: each resample
            draws them anew, runs at the same place of groups of one size together.
        baselines: the baselines count as more groups, behind the others in the order of
            `baseline_rows`.

    Returns:
        by the group's number: difference, and the interval's low and high end. Groups without a
        run, and the reference, have none.

    Raises:
        LocoError: the reference has no run; files are missing, or runs were tested on different
            videos.
    """
    if resamples < 1:
        raise LocoError(f"resamples must be at least 1, got {resamples}")
    if not groups[reference]:
        raise LocoError("reference: no job of it is finished")
    runs = [RunFolder(folder) for group in groups for folder in group]
    owner = [i for i, group in enumerate(groups) for _ in group]
    read = _read(runs)
    scores = [run.metrics["mAP"] for run in runs]
    if baselines:
        train, test, num_classes = _videos(runs[0])
        for answers in baseline_answers(train, test, num_classes).values():
            by_id = {video.id: events for video, events in zip(test, answers, strict=True)}
            read.append(WeightedMAP(evaluation_columns(by_id, test), len(test)))
            scores.append(read[-1](np.ones(len(test))))
            owner.append(max(owner[-1] + 1, len(groups)))
    return paired_differences(
        read, scores, owner, reference, resamples, seed, progress, over_seeds=over_seeds
    )


def baseline_rows(folder: Path) -> dict[str, dict[str, float]]:
    """mAP by name of the answers that need no model, on the test videos of a finished run."""
    return baseline_metrics(*_videos(RunFolder(folder)))


def _videos(run: RunFolder) -> tuple[list[Video], list[Video], int]:
    """A run's annotated training videos and test videos, and K."""
    train = [video for video in run.annotations.values() if video.subset == "train"]
    return train, run.test_videos, len(run.annotations.class_names)


def _read(runs: Sequence[RunFolder]) -> list[WeightedMAP]:
    known: dict[Path, Annotations] = {}
    read: list[WeightedMAP] = []
    tested: list[str] = []
    for run in runs:
        path = run.data.annotations_path
        if path is None:
            raise AnnotationError(f"{run.path}: its config names no annotation file")
        annotations = known.get(path) or known.setdefault(path, read_annotations(path))
        videos = sorted(run.predictions)
        unknown = [video for video in videos if video not in annotations]
        if unknown:
            raise LocoError(f"{path}: has no video {unknown[0]!r}, which {run.path} was tested on")
        if read and videos != tested:
            raise LocoError(f"{run.path} was tested on other videos than {runs[0].path}")
        tested = videos
        columns = evaluation_columns(run.predictions, [annotations[video] for video in videos])
        read.append(WeightedMAP(columns, len(videos)))
    return read

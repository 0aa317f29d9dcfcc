"""Runs compared: differences of their mAP, paired over the test videos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from loco.data.annotations import Video
from loco.errors import LocoError
from loco.evaluation.baselines import baseline_answers, baseline_metrics
from loco.evaluation.bootstrap import Gap, WeightedMAP, paired_differences
from loco.runs.results import evaluation_columns
from loco.runs.run_folder import RunFolder
from loco.structures import Events


def differences(
    groups: Sequence[Sequence[Path]],
    reference: int,
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
    *,
    over_seeds: bool = False,
    baselines: bool = False,
) -> dict[int, Gap]:
    """Each group's mean mAP less that of the reference, over the seeds that both have.

    The 95 % interval is of the choice of test videos; all groups see the same resamples.

    Args:
        groups: folders of finished runs; those of a group differ in nothing but the seed.
        reference: number of the group that the others are compared to.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        progress: called after each resample.
        over_seeds: the interval is of the choice of the seeds, too, see `paired_differences`.
        baselines: the baselines count as more groups, behind the others in the order of
            `baseline_rows`.

    Returns:
        by the group's number. Groups without a run or without an mAP, and the reference, have none.

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
    seeds = [run.config.get("seed") for run in runs]
    read = _read(runs)
    scores = [run.metrics["mAP"] for run in runs]
    if baselines:
        train, test, num_classes = _videos(runs[0])
        for answers in baseline_answers(train, test, num_classes).values():
            by_id = {video.id: events for video, events in zip(test, answers, strict=True)}
            read.append(WeightedMAP(evaluation_columns(by_id, test), len(test)))
            scores.append(read[-1](np.ones(len(test))))
            owner.append(max(owner[-1] + 1, len(groups)))
            seeds.append(None)
    return paired_differences(
        read, scores, owner, reference, resamples, seed, progress,
        over_seeds=over_seeds, seeds=seeds,
    )  # fmt: skip


def baseline_rows(folder: Path) -> dict[str, dict[str, float]]:
    """mAP by name of the answers that need no model, on the test videos of a finished run."""
    return baseline_metrics(*_videos(RunFolder(folder)))


def _videos(run: RunFolder) -> tuple[list[Video], list[Video], int]:
    """A run's annotated training videos and test videos, and K."""
    train = [video for video in run.annotations.values() if video.subset == "train"]
    return train, run.test_videos, len(run.annotations.class_names)


def _read(runs: Sequence[RunFolder]) -> list[WeightedMAP]:
    for run in runs:
        check_same_test(runs[0], run)
    return [run.weighted for run in runs]


def check_same_test(run: RunFolder, other: RunFolder) -> None:
    """Refuse to hold runs beside one another that were not tested on the same events.

    Raises:
        LocoError: their videos, their classes or the events of a video differ; or a run's have
            changed since its test.
    """
    mine, theirs = ([video.id for video in each.test_videos] for each in (run, other))
    if mine != theirs:
        raise LocoError(f"{other.path} was tested on other videos than {run.path}")
    check_same_events(run, other, mine)


def check_same_events(run: RunFolder, other: RunFolder, videos: Iterable[str]) -> None:
    """Refuse to hold what runs say of some videos beside one another if other events count there.

    Raises:
        LocoError: their classes or the events of a video differ.
    """
    told = f"{other.path} was tested on other"
    if run.annotations.class_names != other.annotations.class_names:
        raise LocoError(f"{told} classes than {run.path}")
    for video in videos:
        if not same_events(run.annotations[video].events, other.annotations[video].events):
            raise LocoError(f"{told} events of {video!r} than {run.path}")


def same_events(first: Events, second: Events) -> bool:
    """Whether two videos have the same events, in any order."""

    def plain(events: Events) -> list[tuple[int, list[float]]]:
        return sorted(zip(events.labels.tolist(), events.segments.tolist(), strict=True))

    return plain(first) == plain(second)

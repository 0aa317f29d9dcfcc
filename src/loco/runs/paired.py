"""Runs compared: differences of their mAP, paired over the test videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from loco.data.annotations import Annotations, read_annotations
from loco.errors import AnnotationError, LocoError
from loco.evaluation.bootstrap import WeightedMAP, paired_differences
from loco.runs.results import evaluation_columns
from loco.runs.run_folder import RunFolder


def differences(
    groups: Sequence[Sequence[Path]],
    reference: int,
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> dict[int, tuple[float, float, float]]:
    """Each group's mean mAP less that of the reference, with a 95 % interval.

    The interval is of the choice of test videos alone; all groups see the same resamples.

    Args:
        groups: folders of finished runs; those of a group differ in nothing but the seed.
        reference: number of the group that the others are compared to.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        progress: called after each resample.

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
    scores = [run.metrics["mAP"] for run in runs]
    return paired_differences(_read(runs), scores, owner, reference, resamples, seed, progress)


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

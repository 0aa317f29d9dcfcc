"""Runs compared: differences of their mAP, paired over the test videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from loco.data.annotations import Annotations, read_annotations
from loco.errors import AnnotationError, LocoError
from loco.evaluation.bootstrap import WeightedMAP, resampled
from loco.runs.results import evaluation_columns
from loco.runs.run_folder import RunFolder


def differences(
    groups: Sequence[Sequence[Path]],
    reference: int,
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
    seeds: Sequence[Sequence[str]] | None = None,
) -> dict[int, tuple[float, float, float]]:
    """Each group's mean mAP less that of the reference, with a 95 % interval.

    The interval is of the choice of test videos; all groups see the same resamples. With `seeds` it
    is of theirs as well: runs of one seed are compared with each other, and seeds are drawn anew.

    Args:
        groups: folders of finished runs; those of a group differ in nothing but the seed.
        reference: number of the group that the others are compared to.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        progress: called after each resample.
        seeds: of each folder; those that a group shares with the reference count.

    Returns:
        by the group's number: difference, and the interval's low and high end. Groups without a
        run, and the reference, have none.

    Raises:
        LocoError: the reference has no run; files are missing, or runs were tested on different
            videos; a group shares no seed with the reference.
    """
    if resamples < 1:
        raise LocoError(f"resamples must be at least 1, got {resamples}")
    if not groups[reference]:
        raise LocoError("reference: no job of it is finished")
    runs = [RunFolder(folder) for group in groups for folder in group]
    owner = np.array([i for i, group in enumerate(groups) for _ in group])
    values = resampled(_read(runs), resamples, seed, progress)
    scores = np.array([run.metrics["mAP"] for run in runs])
    random = np.random.default_rng((seed, 1))
    result = {}
    for i in dict.fromkeys(owner.tolist()):
        if i == reference:
            continue
        ours, theirs = (np.flatnonzero(owner == group) for group in (i, reference))
        if seeds is not None:
            ours, theirs = _of_common_seeds(ours, theirs, seeds[i], seeds[reference])
            gaps = over_seeds(values[ours] - values[theirs], random)
        else:
            gaps = values[ours].mean(0) - values[theirs].mean(0)
        low, high = np.nanpercentile(gaps, [2.5, 97.5])
        gap = scores[ours].mean() - scores[theirs].mean()
        result[i] = float(gap), float(low), float(high)
    return result


def over_seeds(gaps: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Means (R,) over as many seeds as there are, drawn anew for each resample, of gaps (S, R)."""
    drawn = random.integers(len(gaps), size=gaps.shape)
    means: np.ndarray = np.take_along_axis(gaps, drawn, axis=0).mean(axis=0)
    return means


def _of_common_seeds(
    ours: np.ndarray, theirs: np.ndarray, our_seeds: Sequence[str], their_seeds: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The runs (S,) of both groups whose seeds both have, in the same order."""
    by_seed = dict(zip(their_seeds, theirs, strict=True))
    common = [(run, by_seed[s]) for s, run in zip(our_seeds, ours, strict=True) if s in by_seed]
    if not common:
        raise LocoError(
            f"seeds {', '.join(our_seeds)} and {', '.join(their_seeds)}: rows that are compared "
            "over their seeds need some in common"
        )
    first, second = zip(*common, strict=True)
    return np.array(first), np.array(second)


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

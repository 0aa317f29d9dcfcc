"""A run beside another one, over the test videos that both have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from omegaconf import OmegaConf

from loco.data.annotations import Video
from loco.errors import LocoError
from loco.evaluation.bootstrap import Gap, WeightedMAP, paired_differences
from loco.evaluation.metrics import DetectionMAP
from loco.runs.command.quoting import plain_without_secrets
from loco.runs.paired import same_events
from loco.runs.results import detailed_metrics, evaluation_columns
from loco.runs.run_folder import RunFolder
from loco.runs.settings import flat
from loco.structures import Events

INCIDENTAL = (
    "output_dir", "ckpt_path", "callbacks", "csv_log", "logger", "report", "resume_sweep", "reuse",
    "data.num_workers", "task", "video_root", "class_names",
)  # fmt: skip
"""Settings that say nothing of what was run."""


class Comparison(NamedTuple):
    """What a page shows of two runs.

    Attributes:
        name: of the other run.
        videos: tested in both, in their order.
        notes: what is different in what was tested, a line each.
        difference: of the average mAP, this run's less the other's, and its 95 % interval.
        settings: key, value here and value there, of those that differ.
    """

    name: str
    videos: list[Video]
    notes: list[str]
    difference: Gap
    settings: list[tuple[str, str, str]]


def compare(run: RunFolder, other: RunFolder, resamples: int = 1000, seed: int = 0) -> Comparison:
    """Compare a run's test with that of another.

    Args:
        run: this one.
        other: which it is held against.
        resamples: of the bootstrap over the videos.
        seed: of the bootstrap.

    Raises:
        LocoError: they were tested on nothing in common, or not against the same events.
    """
    mine, theirs = ({video.id: video for video in r.test_videos} for r in (run, other))
    common = [video for video_id, video in mine.items() if video_id in theirs]
    told = f"{run.path} and {other.path} cannot be compared"
    if not common:
        raise LocoError(f"{told}: no test video is in both")
    if run.annotations.class_names != other.annotations.class_names:
        raise LocoError(f"{told}: their classes are not the same ones in the same order")
    for video in common:
        if not same_events(video.events, theirs[video.id].events):
            raise LocoError(f"{told}: the events of {video.id!r} are not the same in both")
    notes = [
        f"{len(videos) - len(common)} test videos of {name} are not in the other, and do not count."
        for name, videos in (("this run", mine), ("the other run", theirs))
        if len(videos) > len(common)
    ]
    count = len(common)
    both = [WeightedMAP(evaluation_columns(r.predictions, common), count) for r in (other, run)]
    scores = [of_run(np.ones(count)) for of_run in both]
    difference = paired_differences(both, scores, [0, 1], resamples=resamples, seed=seed)[1]
    name = other.path.resolve().name
    if name in ("this run", run.path.resolve().name):
        name = f"{other.path.resolve().parent.name}/{name}"
    return Comparison(name, common, notes, difference, differing_settings(run, other))


def differing_settings(run: RunFolder, other: RunFolder) -> list[tuple[str, str, str]]:
    """Key, value here and value there, of the settings that differ; a dash where one has none."""
    mine, theirs = (
        flat(plain_without_secrets(OmegaConf.to_container(r.config))) for r in (run, other)
    )
    return [
        (key, str(mine.get(key, "–")), str(theirs.get(key, "–")))
        for key in dict.fromkeys((*mine, *theirs))
        if mine.get(key) != theirs.get(key)
        and not any(key == one or key.startswith(f"{one}.") for one in INCIDENTAL)
    ]


def scores_of(
    found: Mapping[str, Events], videos: Sequence[Video], class_names: Sequence[str]
) -> tuple[dict[str, float], dict[str, Any]]:
    """What metrics.json holds, of these videos alone: the mAPs, and the details."""
    metric = DetectionMAP(len(class_names), sync_on_compute=False)
    metric.update([found[video.id] for video in videos], [video.events for video in videos])
    metrics = {name: float(value) for name, value in metric.compute().items()}
    return metrics, detailed_metrics(found, videos, class_names)

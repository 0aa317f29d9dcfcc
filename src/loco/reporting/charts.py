"""The charts of a run's page, in the order of its questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from loco.data.annotations import Video
from loco.evaluation.metrics import precision_recall
from loco.evaluation.similarity import similarity_by_distance
from loco.reporting.figures import (
    plot_characteristics,
    plot_coherence,
    plot_correspondence,
    plot_curve,
    plot_errors,
    plot_learning_rate,
    plot_losses,
    plot_map,
    plot_precision_recall,
    plot_validation,
    plot_windows,
)
from loco.reporting.inspection import SPACE_NAMES, Space, TargetWindows, VideoSimilarity
from loco.runs.logs import Curve
from loco.runs.results import evaluation_columns
from loco.structures import Events

TIOU, POINTS = 0.5, 51  # of precision against recall
Charts = dict[str, Callable[[], Figure]]
"""What draws a chart, by its name."""


def score_charts(
    runs: Mapping[str, Mapping[str, float]],
    found: Mapping[str, Mapping[str, Events]],
    truth: Sequence[Video],
    num_classes: int,
) -> Charts:
    """What was scored: mAP by tIoU, precision by recall.

    Args:
        runs: mAPs of each run, by its name.
        found: detections of each run by video, all of the videos of `truth`.
        truth: empty where there is none.
        num_classes: K.
    """
    charts: Charts = {"mAP": lambda: plot_map(runs)}
    if sum(len(video.events) for video in truth):
        charts["precision"] = lambda: _precision(found, truth, num_classes)
    return charts


def _precision(
    found: Mapping[str, Mapping[str, Events]], truth: Sequence[Video], num_classes: int
) -> Figure:
    columns = {name: evaluation_columns(of_run, truth) for name, of_run in found.items()}
    curves = {
        name: precision_recall(of_run, num_classes, TIOU, POINTS)
        for name, of_run in columns.items()
    }
    return plot_precision_recall(curves, TIOU)


def training_charts(logs: Mapping[str, Mapping[str, Curve]]) -> Charts:
    """How it was trained, each curve that was logged; the first of `logs` is this run's."""
    curves = next(iter(logs.values()))
    charts: Charts = {}
    if "train/loss" in curves:
        charts["losses"] = lambda: plot_losses(curves)
    if "val/mAP" in curves and len(logs) > 1:
        label, unit = "Validation mAP, average", "mAP (%)"
        charts["validation"] = lambda: plot_curve(logs, "val/mAP", label, unit, scale=100)
    elif "val/mAP" in curves:
        charts["validation"] = lambda: plot_validation(curves)
    if "train/lr" in curves:
        charts["learning rate"] = lambda: plot_learning_rate(curves)
    if "lcc/temperature" in curves:
        charts["correspondence"] = lambda: plot_correspondence(curves)
    return charts


def mistake_charts(
    diagnoses: Mapping[str, Mapping[str, Any]], seen: Mapping[Space, Sequence[VideoSimilarity]]
) -> Charts:
    """Where the mAP is lost, and how alike sight and sound are."""
    charts: Charts = {}
    if diagnoses:
        charts["mistakes"] = lambda: plot_errors(diagnoses)
        charts["kinds of events"] = lambda: plot_characteristics(diagnoses)
    if seen:
        charts["coherence"] = lambda: _coherence(seen)
    return charts


def _coherence(seen: Mapping[Space, Sequence[VideoSimilarity]]) -> Figure:
    grid = next(iter(seen.values()))[0].grid
    reach = round(20 * grid.fps / grid.stride)
    coherence = {
        SPACE_NAMES[space]: similarity_by_distance(
            [video.matrix for video in of_space],
            [video.events.segments.numpy() for video in of_space],
            grid,
            reach,
        )
        for space, of_space in seen.items()
    }
    return plot_coherence(coherence, grid)


def window_charts(windows: Sequence[TargetWindows]) -> Charts:
    """Where the heads look in one video, a chart for each direction."""
    charts: Charts = {}
    for queries in ("visual", "audio"):
        if own := [window for window in windows if window.queries == queries]:
            charts[f"{queries} windows"] = partial(plot_windows, own, levels=2)
    return charts

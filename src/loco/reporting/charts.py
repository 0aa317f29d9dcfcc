"""The charts of a run's page, in the order of its questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
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
from loco.reporting.page import chart_svgs
from loco.runs.logs import Curve
from loco.runs.results import evaluation_columns
from loco.structures import Events

TIOUS = (0.3, 0.5, 0.7)
Try = Callable[[str, Callable[[], Any], Any], Any]
"""What something is, how it is made, and what stands in for it where that fails."""


class Chart(NamedTuple):
    """A figure to be drawn, and what it is called where it cannot be."""

    name: str
    draw: Callable[[], Figure]


def score_charts(
    runs: Mapping[str, Mapping[str, float]],
    found: Mapping[str, Mapping[str, Events]],
    truth: Sequence[Video],
    num_classes: int,
) -> list[Chart]:
    """What was scored: mAP by tIoU, precision by recall.

    Args:
        runs: mAPs of each run, by its name.
        found: detections of each run by video, all of the videos of `truth`.
        truth: empty where there is none.
        num_classes: K.
    """
    charts = [Chart("mAP", lambda: plot_map(runs))]
    if sum(len(video.events) for video in truth):
        charts.append(Chart("precision", lambda: _precision(found, truth, num_classes)))
    return charts


def _precision(
    found: Mapping[str, Mapping[str, Events]], truth: Sequence[Video], num_classes: int
) -> Figure:
    tious = TIOUS if len(found) == 1 else (0.5,)
    curves = {}
    for name, of_run in found.items():
        columns = evaluation_columns(of_run, truth)
        for tiou in tious:
            label = f"tIoU {tiou}" if len(found) == 1 else f"{name}, tIoU {tiou}"
            curves[label] = np.nanmean(precision_recall(columns, num_classes, tiou), axis=0)
    return plot_precision_recall(curves)


def training_charts(logs: Mapping[str, Mapping[str, Curve]]) -> list[Chart]:
    """How it was trained, each curve that was logged; the first of `logs` is this run's."""
    curves = next(iter(logs.values()))
    charts = []
    if "train/loss" in curves:
        charts.append(Chart("losses", lambda: plot_losses(curves)))
    if "val/mAP" in curves and len(logs) > 1:
        label, unit = "Validation mAP, average", "mAP (%)"
        charts.append(
            Chart("validation", lambda: plot_curve(logs, "val/mAP", label, unit, scale=100))
        )
    elif "val/mAP" in curves:
        charts.append(Chart("validation", lambda: plot_validation(curves)))
    if "train/lr" in curves:
        charts.append(Chart("learning rate", lambda: plot_learning_rate(curves)))
    if "lcc/temperature" in curves:
        charts.append(Chart("correspondence", lambda: plot_correspondence(curves)))
    return charts


def mistake_charts(
    diagnoses: Mapping[str, Mapping[str, Any]], seen: Mapping[Space, Sequence[VideoSimilarity]]
) -> list[Chart]:
    """Where the mAP is lost, and how alike sight and sound are."""
    charts = []
    if diagnoses:
        charts.append(Chart("mistakes", lambda: plot_errors(diagnoses)))
        charts.append(Chart("kinds of events", lambda: plot_characteristics(diagnoses)))
    if seen:
        charts.append(Chart("coherence", lambda: _coherence(seen)))
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


def window_charts(windows: Sequence[TargetWindows]) -> list[Chart]:
    """Where the heads look in one video, a chart for each direction."""

    def chart(queries: str) -> Chart:
        own = [window for window in windows if window.queries == queries]
        return Chart(f"{queries} windows", lambda: plot_windows(own, levels=2))

    return [
        chart(queries)
        for queries in ("visual", "audio")
        if any(w.queries == queries for w in windows)
    ]


def drawn(charts: Sequence[Chart], attempt: Try, **settings: float) -> list[Markup]:
    """The charts that can be drawn as SVG, see `chart_svgs`; `attempt` notes the others."""
    made = {c.name: attempt(f"chart of {c.name}", c.draw, None) for c in charts}
    figures = {name: figure for name, figure in made.items() if figure is not None}
    svgs: list[Markup] = attempt("charts", lambda: chart_svgs(figures, **settings), [])
    return svgs

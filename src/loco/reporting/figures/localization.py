"""A timeline of a video: what there is, and what models say (Fig. 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from loco.reporting.figures.style import COLORS, GRID, INK, TextFigure, plain, short
from loco.structures import Events

TRUTH, PREDICTION = "#4d4d4d", COLORS[0]
MAX_LANES = 4  # predictions of a class that lie above one another


def plot_timeline(
    truth: Events,
    predictions: Mapping[str, Events],
    class_names: Sequence[str],
    duration: float,
    min_score: float = 0.2,
    title: str = "",
) -> Figure:
    """Ground truth and predictions with their scores by class, a panel for each model.

    Args:
        truth: the events that there are, seconds.
        predictions: by model, detections with scores; the higher a score, the deeper the colour.
        class_names: K names.
        duration: seconds.
        min_score: predictions below it are left out.
        title: of the whole figure, such as the video's name.
    """
    kept = {name: _above(events, min_score) for name, events in predictions.items()}
    labels = sorted(
        set(truth.labels.tolist()).union(*(events.labels.tolist() for events in kept.values()))
    )
    lanes = {name: _lanes(events) for name, events in kept.items()}
    heights = [
        0.9 + 0.55 * max([1, *(lane + 1 for name in kept for lane, label in zip(
            lanes[name], kept[name].labels.tolist(), strict=True) if label == wanted)])
        for wanted in labels
    ]  # fmt: skip
    width = 4.8 * max(len(kept), 1) + 1.2
    figure = TextFigure(figsize=(width, 1.2 + 0.32 * max(sum(heights), 3)), layout="constrained")
    panels = figure.subplots(1, max(len(kept), 1), squeeze=False, sharey=True)[0]
    tops = [sum(heights[:i]) for i in range(len(heights) + 1)]
    for axes, name in zip(panels, kept or [""], strict=True):
        plain(axes, name, "time (s)", "")
        axes.grid(visible=False, axis="y")
        _bars(axes, truth, labels, tops, [0] * len(truth), TRUTH, 0.2)
        if name in kept:
            _bars(axes, kept[name], labels, tops, lanes[name], PREDICTION, 0.78)
        for top in tops[1:-1]:
            axes.axhline(top, color=GRID, linewidth=0.8)
        axes.set(xlim=(0, duration), ylim=(max(tops[-1], 1), 0))
        axes.tick_params(axis="y", length=0)
    middles = [(low + high) / 2 for low, high in pairwise(tops)]
    panels[0].set_yticks(middles, short([class_names[label] for label in labels]))
    figure.legend(
        handles=[
            Patch(color=TRUTH, label="ground truth"),
            Patch(color=PREDICTION, label=f"prediction and its score, from {min_score:g}"),
        ],
        loc="outside lower center", ncols=2, frameon=False, fontsize=8, labelcolor=INK,
    )  # fmt: skip
    if title:
        figure.suptitle(title, fontsize=10, color=INK)
    return figure


def _above(events: Events, min_score: float) -> Events:
    if events.scores is None:
        raise ValueError("predictions must have scores")
    return events[events.scores >= min_score]


def _lanes(events: Events) -> list[int]:
    """For each event the first lane of its class where no better one is in the way."""
    taken: dict[tuple[int, int], list[tuple[float, float]]] = {}
    lanes = []
    for (start, end), label in zip(events.segments.tolist(), events.labels.tolist(), strict=True):
        lane = 0
        while lane < MAX_LANES - 1 and any(
            start < other_end and end > other_start
            for other_start, other_end in taken.get((label, lane), [])
        ):
            lane += 1
        taken.setdefault((label, lane), []).append((start, end))
        lanes.append(lane)
    return lanes


def _bars(
    axes: Axes,
    events: Events,
    labels: list[int],
    tops: list[float],
    lanes: list[int],
    color: str,
    below: float,
) -> None:
    """Bars of one kind; `below` is the distance of the first lane to the top of its class."""
    scores = [None] * len(events) if events.scores is None else events.scores.tolist()
    for (start, end), label, score, lane in zip(
        events.segments.tolist(), events.labels.tolist(), scores, lanes, strict=True
    ):
        top = tops[labels.index(label)] + below + 0.55 * lane
        strength = 1.0 if score is None else 0.25 + 0.75 * score
        axes.broken_barh(
            [(start, end - start)], (top, 0.42), facecolor=color, alpha=strength, linewidth=0
        )
        if score is not None:
            axes.annotate(
                f"{score:.2f}", (start, top + 0.21), xytext=(2, 0), textcoords="offset points",
                fontsize=6.5, va="center", color="white" if strength > 0.75 else INK,
                annotation_clip=True, clip_on=True,
            )  # fmt: skip

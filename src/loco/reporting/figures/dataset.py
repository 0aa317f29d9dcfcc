"""What a data set holds: durations, event lengths against a pyramid's ranges, counts, classes."""

from __future__ import annotations

from collections import Counter

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from loco.data.annotations import SUBSETS, Annotations
from loco.data.describe import Advice
from loco.reporting.figures.style import (
    COLORS,
    INK,
    TextFigure,
    color_of,
    legend,
    name_ticks,
    plain,
)

MAX_NAMED = 20  # classes that are shown with their names; beyond, by their rank


def plot_data(annotations: Annotations, advice: Advice, title: str = "") -> Figure:
    """Durations, event lengths, events in a video, and class frequencies of a data set.

    Args:
        annotations: the data set.
        advice: for it; its levels are marked beside the lengths.
        title: of the whole figure, such as the file's name.
    """
    figure = TextFigure(figsize=(9.6, 6.6), layout="constrained")
    panels = figure.subplots(2, 2)
    _plot_durations(panels[0, 0], annotations, advice)
    _plot_levels(panels[0, 1], annotations, advice)
    plot_counts(panels[1, 0], annotations)
    plot_classes(panels[1, 1], annotations)
    if title:
        figure.suptitle(title, fontsize=10, color=INK)
    return figure


def _plot_durations(axes: Axes, annotations: Annotations, advice: Advice) -> None:
    plain(axes, "Duration of a video", "seconds", "videos")
    durations = [video.duration for video in annotations.values()]
    axes.hist(durations, bins=40, color=COLORS[0])
    limit = advice.grid.end_seconds(advice.max_length)
    axes.axvline(limit, color=COLORS[1], label=f"max_length, {advice.max_length} steps")
    legend(axes, loc="upper left")


def plot_lengths(axes: Axes, annotations: Annotations) -> None:
    """How long events are, on a logarithmic scale."""
    segments = np.concatenate(
        [np.zeros((0, 2)), *(v.events.segments.numpy() for v in annotations.values())]
    )
    lengths = segments[:, 1] - segments[:, 0]
    plain(axes, "Length of an event", "seconds", "events")
    bins = np.geomspace(max(lengths.min(), 1e-3), lengths.max() * 1.001, 41).tolist()
    axes.hist(lengths, bins=bins, color=COLORS[0])
    median = float(np.median(lengths))
    axes.axvline(median, color=COLORS[1], label=f"median, {median:.1f} s")
    legend(axes)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _plot_levels(axes: Axes, annotations: Annotations, advice: Advice) -> None:
    """The lengths; a level is made for events whose half length lies in its range."""
    plot_lengths(axes, annotations)
    low, high = axes.get_xlim()
    step = advice.grid.stride / advice.grid.fps
    for number, level in enumerate(advice.levels, 1):
        start, end = max(2 * level.low * step, low), min(2 * level.high * step, high)
        if start >= end:
            continue
        if start > low:
            axes.axvline(start, color=INK, linewidth=0.8, linestyle=":")
        axes.annotate(
            f"level {number}", (float(np.sqrt(start * end)), 1.0),
            xycoords=("data", "axes fraction"), ha="center", va="bottom", rotation=30, fontsize=7,
            color=INK,
        )  # fmt: skip
    axes.set_xlim(low, high)
    axes.set_title(axes.get_title(loc="left"), fontsize=10, color=INK, loc="left",
                   fontweight="bold", pad=24)  # fmt: skip


def plot_counts(axes: Axes, annotations: Annotations) -> None:
    """How many events, and how many classes, a video has."""
    plain(axes, "Events and classes in a video", "number", "part of the videos (%)")
    videos = list(annotations.values())
    counts = {
        "events": Counter(len(video.events) for video in videos),
        "classes": Counter(len(set(video.events.labels.tolist())) for video in videos),
    }
    for i, (name, counter) in enumerate(counts.items()):
        numbers = np.array(sorted(counter))
        shares = [100 * counter[number] / len(videos) for number in numbers]
        axes.bar(numbers + 0.4 * (i - 0.5), shares, width=0.4, color=color_of(i), label=name)
    legend(axes)


def plot_classes(axes: Axes, annotations: Annotations) -> None:
    """Events of each class by split, the most frequent class of the training first."""
    names = annotations.class_names
    counts = {subset: np.zeros(len(names), dtype=int) for subset in SUBSETS}
    for video in annotations.values():
        np.add.at(counts[video.subset], video.events.labels.numpy(), 1)
    order = np.argsort(-counts["train"], kind="stable")
    splits = {subset: of_class[order] for subset, of_class in counts.items() if of_class.any()}
    if len(names) <= MAX_NAMED:
        plain(axes, "Events of a class", "events", "")
        left, rows = np.zeros(len(names)), np.arange(len(names))
        for i, (subset, of_class) in enumerate(splits.items()):
            axes.barh(rows, of_class, left=left, color=color_of(i), label=subset, height=0.7)
            left += of_class
        name_ticks(axes.yaxis, rows, [names[label] for label in order])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        legend(axes, loc="lower right")
        return
    plain(axes, "Events of a class", "class, by its training events", "events")
    for i, (subset, of_class) in enumerate(splits.items()):
        axes.plot(
            np.arange(1, len(order) + 1), of_class, color=color_of(i), label=subset,
            drawstyle="steps-mid", linewidth=1.2,
        )  # fmt: skip
    axes.set_ylim(bottom=0)
    legend(axes)

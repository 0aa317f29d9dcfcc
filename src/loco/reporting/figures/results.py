"""What a run scored: mAP by tIoU, by class, by kind of event, and what its mistakes are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loco.reporting.figures.style import (
    COLORS,
    INK,
    MARKERS,
    SOFT,
    color_of,
    from_zero,
    label_of,
    legend,
    legend_below,
    legend_of_runs,
    name_ticks,
    new_axes,
)
from loco.runs.results import MISTAKES, percent

STYLES = {
    "true_positive": ("#009E73", ""),
    "double": ("#56B4E9", "//"),
    "wrong_label": ("#E69F00", "\\\\"),
    "localization": ("#0072B2", ".."),
    "confusion": ("#CC79A7", "xx"),
    "background": ("#999999", ""),
}
CHARACTERISTICS = {
    "by_length": "length",
    "by_events_in_video": "events in the video",
    "by_overlap": "overlap",
}


LONG = 40
"""Letters of a row's name where there is room for it."""


class Interval(Protocol):
    """A difference and the ends of its interval."""

    @property
    def mean(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def plot_map(results: Mapping[str, Mapping[str, float]], axes: Axes | None = None) -> Figure:
    """mAP against tIoU, a line for each run.

    Args:
        results: by name, metrics as in metrics.json: fractions, `mAP` and `mAP@0.1` and so on.
    """
    figure, axes = new_axes(axes, "mAP against tIoU", "tIoU", "mAP (%)")
    for i, (name, metrics) in enumerate(results.items()):
        points = sorted(
            (float(key.removeprefix("mAP@")), 100 * value)
            for key, value in metrics.items()
            if key.startswith("mAP@") and value is not None
        )
        average = metrics.get("mAP")
        scored = average is not None and not np.isnan(average)
        label = f"{name} (avg. {percent(average, 2)})" if scored else name
        axes.plot(
            *zip(*points, strict=True), label=label_of(label), color=color_of(i),
            marker=MARKERS[i % 7], markersize=4, linewidth=1.4,
        )  # fmt: skip
    from_zero(axes)
    legend_of_runs(axes)
    return figure


def plot_per_class(
    precision: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    title: str = "Average precision by class",
    axes: Axes | None = None,
) -> Figure:
    """Average precision of each class, the best of the first run at the top; a dot for each run.

    Args:
        precision: by run, (K,) fractions; NaN for a class without ground truth, which is left out.
        class_names: K names.
    """
    values = np.stack(list(precision.values()))
    rated = np.flatnonzero(~np.isnan(values).all(0))
    order = rated[np.argsort(np.nan_to_num(values[0, rated], nan=-1), kind="stable")]
    figure, axes = new_axes(
        axes, title, "average precision (%)", "", (4.8, 1.2 + 0.19 * max(len(order), 6))
    )
    rows = np.arange(len(order))
    axes.hlines(rows, 0, 100 * np.nan_to_num(values[:, order]).max(0), color=INK, lw=0.4, alpha=0.4)
    for i, name in enumerate(precision):
        axes.plot(
            100 * values[i, order], rows, linestyle="", marker=MARKERS[i % 7], markersize=5,
            color=color_of(i), label=label_of(name),
        )  # fmt: skip
    name_ticks(axes.yaxis, rows, [class_names[k] for k in order], fontsize=7)
    axes.set(xlim=(0, 102), ylim=(-0.7, len(order) - 0.3))
    if len(precision) > 1:
        legend(axes, loc="lower right")
    return figure


def plot_importances(importances: Mapping[str, float], axes: Axes | None = None) -> Figure:
    """How much each setting of a search decides about its score, a bar for each, largest on top.

    Args:
        importances: by setting, parts of 1.
    """
    size = (4.8, 1.4 + 0.35 * len(importances))
    figure, axes = new_axes(axes, "What decides", "part of the importance (%)", "", size)
    ordered = sorted(importances.items(), key=lambda item: item[1])
    rows = np.arange(len(ordered))
    axes.barh(rows, [100 * part for _, part in ordered], color=COLORS[0], height=0.6)
    name_ticks(axes.yaxis, rows, [name for name, _ in ordered])
    axes.set(xlim=(0, None))
    return figure


def plot_differences(
    differences: Mapping[str, Interval],
    title: str = "Difference in average mAP",
    scale: float = 100.0,
    axes: Axes | None = None,
) -> Figure:
    """Differences with their intervals, one below the other; filled where the interval misses 0.

    Args:
        differences: by name, in the order in which they are drawn.
        scale: what they are multiplied with, 100 for fractions of mAP.
    """
    longest = max((min(len(name), LONG) for name in differences), default=0)
    size = (3.6 + 0.06 * longest, 1.2 + 0.3 * max(len(differences), 2))
    figure, axes = new_axes(axes, title, "difference" + " (points)" * (scale == 100), "", size)
    axes.axvline(0, color=SOFT, linewidth=1)
    for row, gap in enumerate(differences.values()):
        mean, low, high = (scale * end for end in (gap.mean, gap.low, gap.high))
        certain = low > 0 or high < 0
        axes.plot([low, high], [row, row], color=COLORS[0], linewidth=1.6, solid_capstyle="butt")
        axes.plot(
            mean, row, marker="o", markersize=6, color=COLORS[0],
            markerfacecolor=COLORS[0] if certain else "white",
        )  # fmt: skip
    name_ticks(axes.yaxis, range(len(differences)), list(differences), length=LONG)
    axes.set(ylim=(len(differences) - 0.4, -0.6))
    axes.grid(visible=False, axis="y")
    return figure


def plot_errors(diagnoses: Mapping[str, Mapping[str, Any]], axes: Axes | None = None) -> Figure:
    """What the best predictions are: right, or which kind of mistake, a bar for each run.

    Args:
        diagnoses: by run, what `loco.evaluation.diagnosis.diagnose` returns.
    """
    first = next(iter(diagnoses.values()))
    figure, axes = new_axes(
        axes,
        f"The best predictions (tIoU {first['tiou']:g})",
        "part of the predictions (%)",
        "",
        (4.8, 1.9 + 0.45 * len(diagnoses)),
    )
    left = np.zeros(len(diagnoses))
    rows = np.arange(len(diagnoses))
    for kind, label in MISTAKES.items():
        color, hatch = STYLES[kind]
        parts = np.array([100 * (d["predictions"][kind] or 0.0) for d in diagnoses.values()])
        bars = axes.barh(
            rows, parts, left=left, color=color, hatch=hatch, edgecolor="white", linewidth=0.5,
            label=label, height=0.6,
        )  # fmt: skip
        texts = [f"{part:.0f}" if part >= 4 else "" for part in parts]
        axes.bar_label(
            bars, texts, label_type="center", fontsize=7,
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.8},
        )  # fmt: skip
        left += parts
    name_ticks(axes.yaxis, rows, list(diagnoses))
    axes.set(xlim=(0, 100))
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    handles, labels = axes.get_legend_handles_labels()
    legend(figure, handles=handles, labels=labels, loc="outside lower center", ncols=3)
    return figure


def plot_characteristics(
    diagnoses: Mapping[str, Mapping[str, Any]], axes: Axes | None = None
) -> Figure:
    """mAP by kind of event (length, company, overlap), each bucket with its number of events.

    Args:
        diagnoses: by run, what `loco.evaluation.diagnosis.diagnose` returns.
    """
    first = next(iter(diagnoses.values()))
    figure, axes = new_axes(
        axes, f"mAP by kind of event (tIoU {first['tiou']:g})", "", "mAP (%)", (4.8, 3.4)
    )
    groups = [(group, bucket) for group in CHARACTERISTICS for bucket in first[group]]
    gaps = {group: 0.7 * i for i, group in enumerate(CHARACTERISTICS)}
    places = np.array([i + gaps[group] for i, (group, _) in enumerate(groups)])
    width = 0.8 / len(diagnoses)
    for i, (name, diagnosis) in enumerate(diagnoses.items()):
        heights = [100 * (diagnosis[group][bucket]["mAP"] or 0.0) for group, bucket in groups]
        bars = axes.bar(
            places + width * (i - (len(diagnoses) - 1) / 2), heights, width=width,
            color=color_of(i), label=label_of(name),
        )  # fmt: skip
        if len(diagnoses) == 1:
            values = [diagnosis[group][bucket]["mAP"] for group, bucket in groups]
            told = ["–" if value is None else f"{100 * value:.0f}" for value in values]
            axes.bar_label(bars, told, fontsize=7, color=INK)
    low, high = first["lengths"]
    lengths = {"short": f"≤ {low:g} s", "medium": f"{low:g}–{high:g} s", "long": f"≥ {high:g} s"}
    ticks = [
        f"{lengths.get(bucket, bucket)}\n({first[group][bucket]['num_events']})"
        for group, bucket in groups
    ]
    axes.set_xticks(places, ticks, fontsize=7, rotation=40, ha="right", rotation_mode="anchor")
    for group, label in CHARACTERISTICS.items():
        inside = [p for p, (of, _) in zip(places, groups, strict=True) if of == group]
        axes.annotate(
            label, (float(np.mean(inside)), 1.0), xycoords=("data", "axes fraction"), fontsize=8,
            ha="center", va="top", color=INK,
        )  # fmt: skip
    axes.margins(y=0.18)
    axes.grid(visible=False, axis="x")
    if len(diagnoses) > 1:
        handles, labels = axes.get_legend_handles_labels()
        legend_below(figure, handles, labels)
    return figure

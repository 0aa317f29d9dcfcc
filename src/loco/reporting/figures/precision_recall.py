"""Precision against recall: how many of the detections are right, the more events are found."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loco.reporting.figures.style import SOFT, color_of, label_of, legend, new_axes


def plot_precision_recall(
    curves: Mapping[str, np.ndarray],
    tiou: float,
    title: str | None = None,
    axes: Axes | None = None,
) -> Figure:
    """The mean over the classes, a line for each run; of a single run also each class, in grey.

    Args:
        curves: by run, what `loco.evaluation.metrics.precision_recall` returns: (K, R) fractions
            at evenly spaced recalls, NaN for a class without ground truth. One alone may be "".
        tiou: the threshold of a match that they were counted with.
        title: None names the threshold.
    """
    title = f"Precision against recall (tIoU {tiou:g})" if title is None else title
    figure, axes = new_axes(axes, title, "recall (%)", "precision (%)")
    for i, (name, of_class) in enumerate(curves.items()):
        rated = 100 * of_class[~np.isnan(of_class).all(1)]
        recall = np.linspace(0, 100, of_class.shape[1])
        if len(curves) == 1 and len(rated):
            axes.plot(recall, rated.T, color=SOFT, linewidth=0.6, alpha=0.5)
            axes.plot([], [], color=SOFT, linewidth=0.6, alpha=0.5, label="a class")
        mean = rated.mean(0) if len(rated) else np.full_like(recall, np.nan)
        label = name
        if len(curves) == 1:
            mean_of = f"mean of {len(rated)} classes"
            label = f"{name} ({mean_of})" if name else mean_of
        axes.plot(recall, mean, color=color_of(i), linewidth=1.6, label=label_of(label))
    axes.set(xlim=(0, 100), ylim=(0, 102))
    legend(axes, loc="upper right")
    return figure

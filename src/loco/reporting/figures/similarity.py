"""Cross-similarity matrices (Fig. 4) and local cross-modal coherence (Fig. 1b)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from loco.evaluation.similarity import mean_of_std
from loco.reporting.figures.style import (
    INK,
    MARKERS,
    SEQUENTIAL,
    TextFigure,
    color_of,
    legend,
    name_ticks,
    new_axes,
    plain,
    short,
)
from loco.structures import Events, TimeGrid


def plot_similarity(
    matrices: Mapping[str, np.ndarray],
    grid: TimeGrid,
    events: Events | None = None,
    class_names: Sequence[str] = (),
    title: str = "",
    share_scale: bool = True,
) -> Figure:
    """Cross-similarity matrices of one video side by side, its events marked on both axes.

    Args:
        matrices: (T, T) cosines by what to call them, such as before and after LCC; rows are
            visual, columns audio steps.
        grid: where the steps lie in time.
        events: drawn as bars along both axes, and as frames where they meet themselves.
        class_names: K names, for the legend.
        title: of the whole figure, such as the video's name.
        share_scale: one colour scale for all, so that they can be compared; if not, each has the
            one of its own values.
    """
    count = len(matrices)
    figure = TextFigure(figsize=(3.9 * count + 0.6, 4.4), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    low = min(float(matrix.min()) for matrix in matrices.values())
    high = max(float(matrix.max()) for matrix in matrices.values())
    labels = [] if events is None else sorted(set(events.labels.tolist()))
    for axes, (name, matrix) in zip(panels, matrices.items(), strict=True):
        plain(axes, f"{name} (std {matrix.std():.3f})", "audio time (s)", "visual time (s)")
        axes.grid(visible=False)
        half = grid.stride / grid.fps / 2
        first, last = grid.to_seconds(0.0) - half, grid.to_seconds(len(matrix) - 1.0) + half
        image = axes.imshow(
            matrix,
            origin="lower",
            extent=(first, last, first, last),
            cmap=SEQUENTIAL,
            vmin=low if share_scale else None,
            vmax=high if share_scale else None,
            interpolation="nearest",
        )
        if events is not None:
            mark_events(axes, events, first, last)
        bar = figure.colorbar(image, ax=axes, shrink=0.75, pad=0.02)
        bar.set_label("cosine similarity", fontsize=8, color=INK)
        bar.ax.tick_params(labelsize=7, colors=INK)
    if labels:
        handles = [Rectangle((0, 0), 1, 1, color=color_of(i)) for i in range(len(labels))]
        names = short([class_names[label] for label in labels])
        figure.legend(
            handles, names, loc="outside lower center", ncols=min(len(labels), 4), frameon=False,
            fontsize=8, labelcolor=INK,
        )  # fmt: skip
    if title:
        figure.suptitle(title, fontsize=10, color=INK)
    return figure


def mark_events(axes: Axes, events: Events, first: float, last: float) -> None:
    """Frames on the diagonal, and a bar for each event outside of both axes, in its class's colour.

    Args:
        first: where the matrix begins, seconds.
        last: where it ends.
    """
    labels = sorted(set(events.labels.tolist()))
    room = (last - first) * 0.035
    for (start, end), label in zip(events.segments.tolist(), events.labels.tolist(), strict=True):
        row = labels.index(label)
        start, end = max(start, first), min(end, last)  # as far as there are features
        if start >= end:
            continue
        color = color_of(row)
        for edge, width in (("white", 2.2), (color, 1.1)):
            axes.add_patch(
                Rectangle(
                    (start, start), end - start, end - start, fill=False, edgecolor=edge,
                    linewidth=width,
                )
            )  # fmt: skip
        place = last + room * (0.35 + row)
        axes.add_patch(Rectangle((start, place), end - start, room * 0.7, color=color, lw=0))
        axes.add_patch(Rectangle((place, start), room * 0.7, end - start, color=color, lw=0))
    margin = room * (len(labels) + 0.4)
    axes.set(xlim=(first, last + margin), ylim=(first, last + margin))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([tick for tick in axis.get_ticklocs() if first <= tick <= last])


def plot_coherence(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    grid: TimeGrid,
    axes: Axes | None = None,
) -> Figure:
    """Mean similarity against distance in time, within events and across their boundaries.

    Args:
        curves: by model, the two curves of `loco.evaluation.similarity.similarity_by_distance`.
        grid: turns distances into seconds.
    """
    figure, axes = new_axes(
        axes, "Local cross-modal coherence", "distance in time (s)", "mean cosine similarity"
    )
    for i, (name, (inside, across)) in enumerate(curves.items()):
        seconds = np.arange(len(inside)) * grid.stride / grid.fps
        prefix = f"{name}, " if name else ""
        axes.plot(seconds, inside, color=color_of(i), label=f"{prefix}inside one event")
        axes.plot(
            seconds, across, color=color_of(i), linestyle="--", label=f"{prefix}inside / outside"
        )
    axes.set_xlim(left=0)
    legend(axes)
    return figure


def plot_mean_of_std(
    matrices: Mapping[str, Sequence[np.ndarray]], axes: Axes | None = None
) -> Figure:
    """How the standard deviations of a split's matrices spread, and their mean ("mean of std").

    Args:
        matrices: by model, the cross-similarity matrices of all videos.
    """
    figure, axes = new_axes(
        axes, "Spread of the cross-similarities", "standard deviation of a video's matrix", ""
    )
    for i, of_model in enumerate(matrices.values()):
        deviations = np.array([matrix.std() for matrix in of_model])
        jitter = np.random.default_rng(0).uniform(-0.18, 0.18, len(deviations))
        axes.scatter(
            deviations, i + jitter, s=9, color=color_of(i), alpha=0.45, marker=MARKERS[i % 7], lw=0
        )
        mean = mean_of_std(of_model)
        axes.plot([mean, mean], [i - 0.32, i + 0.32], color=INK, linewidth=1.6)
        axes.annotate(
            f"mean {mean:.3f}", (mean, i + 0.34), fontsize=8, ha="center", va="bottom", color=INK
        )
    name_ticks(axes.yaxis, range(len(matrices)), list(matrices))
    axes.set_ylim(-0.5, len(matrices) - 0.2)
    axes.grid(visible=False, axis="y")
    return figure

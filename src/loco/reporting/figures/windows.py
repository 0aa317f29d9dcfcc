"""Where cross-modal dynamic perception looks: its target windows by level, direction and head."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from loco.reporting.figures.style import GRID, INK, TextFigure, color_of, plain
from loco.reporting.inspection import TargetWindows


def plot_windows(windows: Sequence[TargetWindows], title: str = "", levels: int = 4) -> Figure:
    """Target windows of one video over time: a row for each level, a column for each direction.

    Each base window stands at its centre; grey is what it spans, and each head's line spans what
    that head samples instead. Where nothing is adapted the lines fill the grey.

    Args:
        windows: of one video, from `loco.reporting.inspection.target_windows`.
        title: of the whole figure, such as the video's name.
        levels: how many levels are drawn, from the finest.
    """
    rows = sorted({w.level for w in windows})[:levels]
    columns = [q for q in ("visual", "audio") if any(w.queries == q for w in windows)]
    figure = TextFigure(figsize=(4.6 * len(columns), 1.0 + 1.6 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey="row")
    heads = 0
    for window in windows:
        if window.level not in rows:
            continue
        axes = panels[rows.index(window.level), columns.index(window.queries)]
        other = "audio" if window.queries == "visual" else "visual"
        plain(axes, f"level {window.level + 1}: {window.queries} looks at {other}")
        centre = window.base.mean(1)
        span = window.base[:, 1] - window.base[:, 0]
        width = span + window.step
        axes.bar(centre, span, bottom=-span / 2, width=0.94 * width, color=GRID, linewidth=0)
        heads = len(window.target)
        for head, target in enumerate(window.target):
            place = centre + width * 0.8 * ((head + 0.5) / heads - 0.5)
            axes.vlines(
                place, target[:, 0] - centre, target[:, 1] - centre, color=color_of(head), lw=1.6
            )
        axes.axhline(0, color=INK, linewidth=0.6)
    for axes in panels[-1]:
        axes.set_xlabel("time of the base window (s)", fontsize=9, color=INK)
    figure.supylabel("distance from its centre (s)", fontsize=9, color=INK)
    handles: list[Patch | Line2D] = [Patch(color=GRID, label="base window")]
    handles += [Line2D([], [], color=color_of(i), label=f"head {i + 1}") for i in range(heads)]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(heads + 1, 3 * len(columns)),
        frameon=False, fontsize=8, labelcolor=INK,
    )  # fmt: skip
    if title:
        figure.suptitle(title, fontsize=10, color=INK)
    return figure

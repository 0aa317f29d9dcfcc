"""Curves over a training, from its log (`loco.runs.logs.read_log`)."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from loco.reporting.figures.style import (
    COLORS,
    INK,
    MARKERS,
    color_of,
    label_of,
    legend,
    new_axes,
    plain,
)
from loco.runs.logs import Curve

LOSSES = {
    "train/loss": "total",
    "train/loss_cls": "classification",
    "train/loss_reg": "regression",
    "train/loss_lcc": "correspondence (λ·LCC)",
}


def plot_losses(log: Mapping[str, Curve], axes: Axes | None = None) -> Figure:
    """The losses over the steps, on a logarithmic scale: of training, and the validation's sum."""
    figure, axes = new_axes(axes, "Losses", "training step", "loss")
    others = [name for name in log if name.startswith("train/loss") and name not in LOSSES]
    names = LOSSES | {name: name.removeprefix("train/loss_") for name in others}
    for i, (name, label) in enumerate(names.items()):
        if name in log:
            axes.plot(
                log[name].steps, log[name].values, label=label, color=color_of(i), linewidth=1.2
            )
    if "val/loss" in log:
        axes.plot(
            log["val/loss"].steps, log["val/loss"].values, label="total, validation",
            color=INK, linewidth=1.2, marker=MARKERS[0], markersize=3,
        )  # fmt: skip
    if all(curve.values.min() > 0 for name, curve in log.items() if name in names):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(top=6 * axes.get_ylim()[1])  # room for the legend
    legend(axes, loc="upper right", fontsize=7, ncols=2)
    return figure


def plot_validation(log: Mapping[str, Curve], axes: Axes | None = None) -> Figure:
    """Validation mAP over the epochs: the average, and at some tIoUs."""
    figure, axes = new_axes(axes, "Validation mAP", "epoch", "mAP (%)")
    shown = {"val/mAP": "average", "val/mAP@0.5": "tIoU 0.5", "val/mAP@0.9": "tIoU 0.9"}
    for i, (name, label) in enumerate(shown.items()):
        if name in log:
            curve = log[name]
            axes.plot(
                curve.epochs, 100 * curve.values, label=label, color=color_of(i),
                marker=MARKERS[i], markersize=3, linewidth=1.2,
            )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(axes)
    return figure


def plot_curve(
    logs: Mapping[str, Mapping[str, Curve]],
    name: str,
    title: str,
    unit: str,
    scale: float = 1.0,
    axes: Axes | None = None,
) -> Figure:
    """One logged curve of several runs: of the validation over epochs, others over steps.

    Args:
        logs: log of each run, by its label in the legend; runs without the curve are left out.
        name: such as `val/mAP` or `lcc/sigma`.
        title: what stands above.
        unit: label of the vertical axis.
        scale: what values are multiplied by.
        axes: where to draw; a new figure by default.
    """
    by_epoch = name.startswith("val/")
    figure, axes = new_axes(axes, title, "epoch" if by_epoch else "training step", unit)
    for i, (label, log) in enumerate(logs.items()):
        if name in log:
            curve = log[name]
            axes.plot(
                curve.epochs if by_epoch else curve.steps, scale * curve.values,
                label=label_of(label), color=color_of(i), marker=MARKERS[i % len(MARKERS)],
                markersize=3, markevery=max(1, len(curve.values) // 10), linewidth=1.2,
            )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(axes, fontsize=7)
    return figure


def plot_correspondence(log: Mapping[str, Curve], axes: Axes | None = None) -> Figure:
    """LCC's σ (left scale, steps) and τ (right scale) over the training, as far as logged."""
    figure, axes = new_axes(axes, "LCC: width σ and temperature τ", "training step", "σ (steps)")
    right = axes.twinx()
    plain(right)
    right.grid(visible=False)
    right.spines["right"].set_visible(True)
    right.yaxis.set_label_position("right")
    scales = (
        ("lcc/sigma", axes, "width σ (steps), solid", "-", COLORS[0]),
        ("lcc/temperature", right, "temperature τ, dashed", "--", COLORS[1]),
    )
    for name, scale, label, style, color in scales:
        if name in log:
            scale.plot(log[name].steps, log[name].values, color=color, linestyle=style)
            scale.set_ylabel(label, fontsize=9, color=INK)
            scale.spines["right" if scale is right else "left"].set_color(color)
        else:
            scale.set_yticks([])
            scale.set_ylabel("")
    return figure

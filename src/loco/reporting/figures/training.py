"""Curves over a training, from its log (`loco.runs.logs.read_log`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from loco.reporting.figures.style import (
    COLORS,
    INK,
    MARKERS,
    SOFT,
    color_of,
    from_zero,
    label_of,
    legend,
    legend_of_runs,
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


def best_epoch(log: Mapping[str, Curve]) -> int | None:
    """The epoch of the best validation mAP, counted from 1; the first of several, None for none."""
    place = _best(log)
    epoch = np.nan if place is None else log["val/mAP"].epochs[place]
    return None if np.isnan(epoch) else round(epoch) + 1


def _best(log: Mapping[str, Curve]) -> int | None:
    """Its place in the curve `val/mAP`."""
    if "val/mAP" not in log or np.isnan(log["val/mAP"].values).all():
        return None
    return int(np.nanargmax(log["val/mAP"].values))


def _mark_best(axes: Axes, log: Mapping[str, Curve], by_epoch: bool = False) -> None:
    """A dotted line at the end of the best epoch, below everything else."""
    place = _best(log)
    if place is None:
        return
    curve = log["val/mAP"]
    x = curve.epochs[place] + 1 if by_epoch else curve.steps[place]
    axes.vlines(
        x, 0, 1, transform=axes.get_xaxis_transform(), color=SOFT, linestyle=":", linewidth=1.2
    )
    number = "" if best_epoch(log) is None else f", {best_epoch(log)}"
    axes.set_xlabel(f"{axes.get_xlabel()} (dotted: the end of the best epoch{number})")


def _whole_numbers(axes: Axes, from_zero: bool = True) -> None:
    """Steps or epochs to the right, none of them below 0."""
    if from_zero:
        axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


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
    else:
        axes.set_ylim(bottom=min(0.0, *(c.values.min() for n, c in log.items() if n in names)))
    _mark_best(axes, log)
    _whole_numbers(axes)
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
                curve.epochs + 1, 100 * curve.values, label=label, color=color_of(i),
                marker=MARKERS[i], markersize=3, linewidth=1.2,
            )  # fmt: skip
    from_zero(axes)
    _mark_best(axes, log, by_epoch=True)
    _whole_numbers(axes, from_zero=False)
    legend(axes)
    return figure


def plot_learning_rate(log: Mapping[str, Curve], axes: Axes | None = None) -> Figure:
    """The learning rate over the steps, that of the first group of parameters."""
    figure, axes = new_axes(axes, "Learning rate", "training step", "learning rate")
    curve = log["train/lr"]
    axes.plot(curve.steps, curve.values, color=color_of(0), linewidth=1.4)
    from_zero(axes)
    _mark_best(axes, log)
    _whole_numbers(axes)
    return figure


def plot_curve(
    logs: Mapping[str, Mapping[str, Curve] | Sequence[Mapping[str, Curve]]],
    name: str,
    title: str,
    unit: str,
    scale: float = 1.0,
    axes: Axes | None = None,
) -> Figure:
    """One logged curve of several runs: of the validation over epochs, others over steps.

    Args:
        logs: log of each run, by its label in the legend; or logs of several, one for each seed:
            their mean is drawn, and ± their sample standard deviation as a band. Those without the
            curve are left out.
        name: such as `val/mAP` or `lcc/sigma`, of a quantity that is never negative.
        title: what stands above.
        unit: label of the vertical axis.
        scale: what values are multiplied by.
        axes: where to draw; a new figure by default.
    """
    by_epoch = name.startswith("val/")
    figure, axes = new_axes(axes, title, "epoch" if by_epoch else "training step", unit)
    for i, (label, of_label) in enumerate(logs.items()):
        seeds = [of_label] if isinstance(of_label, Mapping) else of_label
        curves = [log[name] for log in seeds if name in log]
        if curves:
            places, mean, deviation = _over_seeds(curves, by_epoch)
            axes.plot(
                places, scale * mean, label=label_of(label), color=color_of(i),
                marker=MARKERS[i % len(MARKERS)], markersize=3,
                markevery=max(1, len(places) // 10), linewidth=1.2,
            )  # fmt: skip
            if len(curves) > 1:
                low, high = scale * np.maximum(mean - deviation, 0), scale * (mean + deviation)
                axes.fill_between(places, low, high, color=color_of(i), alpha=0.18, linewidth=0)
    from_zero(axes)
    _whole_numbers(axes, from_zero=not by_epoch)
    legend_of_runs(axes, fontsize=7)
    return figure


def _over_seeds(
    curves: Sequence[Curve], by_epoch: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Epochs from 1, or steps, that all curves have; mean and sample deviation of their values."""
    if len(curves) == 1:  # which may have several values an epoch
        (curve,) = curves
        places = curve.epochs + 1 if by_epoch else curve.steps
        return places, curve.values, np.zeros(len(places))
    tables = [
        dict(zip(c.epochs + 1 if by_epoch else c.steps, c.values, strict=True)) for c in curves
    ]
    common = sorted(set(tables[0]).intersection(*tables[1:]))
    values = np.array([[table[place] for place in common] for table in tables])
    return np.array(common), values.mean(0), values.std(0, ddof=1)


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
            from_zero(scale)
        else:
            scale.set_yticks([])
            scale.set_ylabel("")
    _mark_best(axes, log)
    _whole_numbers(axes)
    return figure

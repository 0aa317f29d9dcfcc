"""What all figures share: colours that colour-blind readers tell apart, plain axes, saving."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import ArrayLike

from loco.files import replacing
from loco.runs.text import shown

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""The palette of Okabe and Ito 2008, its yellow left out (too pale for lines on white)."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, SOFT, GRID = "#262626", "#767676", "#d9d9d9"
SEQUENTIAL = "cividis"

_SAVING: Any = {
    "svg.fonttype": "none",  # text stays text: small, and it can be searched
    "svg.hashsalt": "loco",  # the same figure gives the same file
    "pdf.fonttype": 42,
}


class TextFigure(Figure):
    """A figure whose texts are data: names are drawn as they are.

    A `$` begins no formula, control characters are shown as `�`, and letters that the font has not
    got are boxes without a warning each.
    """

    def draw(self, renderer: Any) -> None:
        with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
            for axis in (axis for axes in self.axes for axis in (axes.xaxis, axes.yaxis)):
                axis.get_majorticklabels()  # makes them
            _literal(*self.findobj(Text))
            super().draw(renderer)


def new_axes(
    axes: Axes | None, title: str, xlabel: str, ylabel: str, size: tuple[float, float] = (4.8, 3.2)
) -> tuple[Figure, Axes]:
    """The axes given, or those of a new figure of `size` inches; labelled and plain."""
    if axes is None:
        axes = TextFigure(figsize=size, layout="constrained").subplots()
    figure = axes.figure
    assert isinstance(figure, Figure)
    plain(axes, title, xlabel, ylabel)
    return figure, axes


def plain(axes: Axes, title: str = "", xlabel: str = "", ylabel: str = "") -> None:
    """Labels, no frame to the top and right, a faint grid behind."""
    _literal(
        axes.set_title(title, fontsize=10, color=INK, loc="left", fontweight="bold"),
        axes.set_xlabel(xlabel, fontsize=9, color=INK),
        axes.set_ylabel(ylabel, fontsize=9, color=INK),
    )
    axes.tick_params(labelsize=8, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SOFT)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def from_zero(axes: Axes) -> None:
    """A vertical axis from 0 to a little above what was drawn: for what is never negative."""
    top = axes.dataLim.y1
    axes.set_ylim(0, 1.06 * top if top > 0 else 1)


def legend(owner: Axes | Figure, **settings: Any) -> None:
    """A small legend without a frame, of axes or of a whole figure."""
    made = owner.legend(**{"fontsize": 8, "frameon": False, "labelcolor": INK} | settings)
    _literal(*made.get_texts())


def legend_of_runs(axes: Axes, **settings: Any) -> None:
    """A legend of lines; more than four of them are named below the axes, not upon the lines."""
    handles, labels = axes.get_legend_handles_labels()
    figure = axes.figure
    if len(labels) <= 4 or not isinstance(figure, Figure) or len(figure.axes) > 1:
        legend(axes, **settings)
        return
    legend_below(figure, handles, labels)


def legend_below(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """A legend below a figure's axes, in two columns, or one of long labels; the figure grows."""
    columns = 2 if max(map(len, labels)) <= 34 else 1
    lines = math.ceil(len(labels) / columns)
    figure.set_figheight(figure.get_figheight() + 0.15 * lines)  # inches, of letters of 7 points
    legend(
        figure, handles=handles, labels=labels, fontsize=7,
        loc="outside lower center", ncols=columns,
    )  # fmt: skip


def label_of(name: str) -> str:
    """A name as a legend's label: matplotlib leaves out one that is empty or begins with `_`."""
    return f"\u200b{name}" if name.startswith("_") else name or " "


def name_ticks(
    axis: Axis, places: ArrayLike, names: Sequence[str], length: int = 24, **settings: Any
) -> None:
    """Ticks with names, which are cut to a length."""
    axis.set_ticks(np.asarray(places), short(names, length), **settings)
    _literal(*axis.get_majorticklabels())


def _literal(*texts: Text) -> None:
    """Draw names as they are, also in axes that are not of a `TextFigure`."""
    for text in texts:
        text.set_parse_math(False)
        text.set_text(shown(text.get_text()))


def color_of(index: int) -> str:
    """The palette's colour for the index-th of several things; it repeats after seven."""
    return COLORS[index % len(COLORS)]


def save_figure(
    figure: Figure, path: str | Path, vector: Literal["pdf", "svg"] = "pdf", dpi: int = 200
) -> tuple[Path, Path]:
    """Write a figure as PNG and in a vector format, side by side; returns both files.

    Args:
        path: without an ending, or with one, which is replaced.
    """
    path = Path(path)
    path = path.with_suffix("") if path.suffix in (".png", ".pdf", ".svg") else path
    files = tuple(path.with_name(f"{path.name}.{ending}") for ending in ("png", vector))
    for file in files:
        write_figure(figure, file, dpi)
    return files[0], files[1]


def write_figure(figure: Figure, path: str | Path, dpi: int) -> None:
    """Write a figure in the format that the path's ending names, whole or not at all."""
    path = Path(path)
    with replacing(path) as unfinished:
        _write(figure, unfinished, path.suffix[1:] or "png", dpi)


def svg_text(figure: Figure) -> str:
    """A figure as an `<svg>` element with a transparent background, for an HTML page."""
    stream = io.BytesIO()
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    _write(figure, stream, "svg", 72)
    text = stream.getvalue().decode("utf-8")
    return text[text.index("<svg") :]


def _write(figure: Figure, target: Any, form: str, dpi: int) -> None:
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(form)
    with matplotlib.rc_context(_SAVING):
        figure.savefig(target, format=form, dpi=dpi, metadata=metadata)


def short(names: Sequence[str], length: int = 24) -> list[str]:
    """Names cut to a length, for ticks; without control characters."""
    return [name if len(name) <= length else name[: length - 1] + "…" for name in map(shown, names)]

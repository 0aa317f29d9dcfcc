"""Pictures as pages hold them: inside the HTML, without another file."""

from __future__ import annotations

import base64
import io
import logging
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import matplotlib
import numpy as np
from hydra.errors import InstantiationException
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from PIL import Image

from loco.errors import LocoError
from loco.reporting.figures.style import COLORS, GRID, INK, SEQUENTIAL, SOFT, svg_text
from loco.runs.text import shown

log = logging.getLogger(__name__)

T = TypeVar("T")

NARROW, WIDE, HEIGHT = 4.8, 5.6, 3.3
"""Inches of a chart in a row of three, in a row of two, and of both."""
MAX_PIXELS = 72  # of a similarity matrix, to a side
PAGE_COLORS = {INK: "--ink", SOFT: "--soft", GRID: "--grid", COLORS[0]: "--hit", COLORS[6]: "--ink"}


def or_else(what: str, make: Callable[[], T], otherwise: T, missing: list[str]) -> T:
    """What `make` returns, or a note why it is not there: no part that fails costs the page.

    Args:
        what: is made.
        make: may raise whatever a damaged file or a stranger's part can.
        otherwise: what is returned then.
        missing: gets the note.
    """
    try:
        return make()
    except Exception as error:
        expected = isinstance(error, LocoError | InstantiationException | ValueError | OSError)
        reason = str(error) if expected else f"{type(error).__name__}: {error}"
        missing.append(f"No {what}: {reason}")
        log.warning("report: no %s: %s", what, reason)
        return otherwise


def png_uri(matrix: np.ndarray, low: float, high: float) -> str:
    """A matrix as a small PNG of 64 colours in a data URI; row 0 at the bottom."""
    steps = len(matrix)
    side = min(steps, MAX_PIXELS)
    edges = np.linspace(0, steps, side + 1).round().astype(int)[:-1]
    sizes = np.diff(np.append(edges, steps))
    means = np.add.reduceat(np.add.reduceat(matrix, edges, 0), edges, 1) / np.outer(sizes, sizes)
    levels = np.clip((means - low) / max(high - low, 1e-9) * 63, 0, 63).round().astype(np.uint8)
    image = Image.fromarray(levels[::-1].copy(), mode="P")
    palette = matplotlib.colormaps[SEQUENTIAL](np.linspace(0, 1, 64))[:, :3]
    image.putpalette((255 * palette).round().astype(np.uint8).tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def inline_svg(figure: Figure, prefix: str) -> Markup:
    """A figure for the page: as wide as its place, in colours that follow the page's.

    Args:
        figure: which is made smaller, so that its text is larger in a small place.
        prefix: makes the ids in it unique in the page.
    """
    width, height = figure.get_size_inches()
    figure.set_size_inches(0.84 * width, 0.84 * height)
    text = svg_text(figure)
    head = text[: text.index(">") + 1]
    box = re.search(r'viewBox="[^"]*"', head)
    assert box

    def fitted(tag: re.Match[str]) -> str:  # texts between the tags stay as they are
        text = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{prefix}-", tag[0])
        for color, name in PAGE_COLORS.items():
            text = text.replace(color.lower(), f"var({name})")
        return text

    inside = re.sub(r"<[^>]*>", fitted, text[len(head) :])
    title = escape(shown(figure.axes[0].get_title(loc="left")))
    return Markup(f'<svg {box[0]} role="img" aria-label="{title}">{inside}')


def chart_svgs(
    charts: Mapping[str, Callable[[], Figure]], missing: list[str], height: float = HEIGHT
) -> list[Markup]:
    """The charts that can be drawn, as SVGs of one height, wide as `parts.html` places so many.

    Args:
        charts: by name, which is unique in a page.
        missing: gets a note for each that cannot be drawn.
        height: inches.
    """
    made = {name: or_else(f"chart of {name}", draw, None, missing) for name, draw in charts.items()}
    figures = {name: figure for name, figure in made.items() if figure is not None}
    count = len(figures)
    wide = count if count < 3 else (0, 4, 2)[count % 3]
    svgs = []
    for i, (name, figure) in enumerate(figures.items()):
        figure.set_size_inches(WIDE if i >= count - wide else NARROW, height)
        draw = partial(inline_svg, figure, re.sub(r"\W+", "-", name))
        svgs.append(or_else(f"chart of {name}", draw, Markup(), missing))
    return [svg for svg in svgs if svg]

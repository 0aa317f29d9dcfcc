"""Pictures as pages hold them: inside the HTML, without another file."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from PIL import Image

from loco.reporting.figures.style import COLORS, GRID, INK, SEQUENTIAL, SOFT, svg_text
from loco.runs.streams import shown

NARROW, WIDE, HEIGHT = 4.8, 5.6, 3.3
"""Inches of a chart in a row of three, in a row of two, and of both."""
MAX_PIXELS = 72  # of a similarity matrix, to a side
PAGE_COLORS = {INK: "--ink", SOFT: "--soft", GRID: "--grid", COLORS[0]: "--hit", COLORS[6]: "--ink"}


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


def chart_svgs(figures: Mapping[str, Figure], height: float = HEIGHT) -> list[Markup]:
    """Figures by name as SVGs of one height, their widths as `parts.html` places so many."""
    count = len(figures)
    wide = count if count < 3 else (0, 4, 2)[count % 3]
    svgs = []
    for i, (name, figure) in enumerate(figures.items()):
        figure.set_size_inches(WIDE if i >= count - wide else NARROW, height)
        svgs.append(inline_svg(figure, name.replace(" ", "-")))
    return svgs

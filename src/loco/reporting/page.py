"""What pages are put together from: names, pictures and data in HTML, without another file."""

from __future__ import annotations

import base64
import html
import io
import json
import logging
import re
from collections.abc import Callable
from typing import Any, TypeVar

import matplotlib
import numpy as np
from hydra.errors import InstantiationException
from matplotlib.figure import Figure
from PIL import Image

from loco.errors import LocoError
from loco.reporting.figures.style import COLORS, GRID, INK, SEQUENTIAL, SOFT, svg_text
from loco.runs.streams import shown

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_PIXELS = 72  # of a similarity matrix, to a side
PAGE_COLORS = {INK: "--ink", SOFT: "--soft", GRID: "--grid", COLORS[0]: "--hit"}


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


def escaped(text: str) -> str:
    """A name as HTML can hold it, in texts and in attributes; control characters become `�`."""
    return html.escape(shown(text))


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


def inline_svg(figure: Figure, prefix: str) -> str:
    """A figure for the page: as wide as its place, in colours that follow the page's.

    Args:
        prefix: makes the ids in it unique in the page.
    """
    width, height = figure.get_size_inches()
    figure.set_size_inches(0.84 * width, 0.84 * height)  # larger text in a small place
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
    title = escaped(figure.axes[0].get_title(loc="left"))
    return f'<svg {box[0]} role="img" aria-label="{title}">{inside}'


def script_json(content: Any) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")

"""`loco.data.describe` for people: tables and the settings as overrides."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from rich.table import Table

from loco.data.describe import Advice, Description

Cell = Callable[[Description], str]


def description_table(parts: Mapping[str, Description], title: str) -> Table:
    """A column for the whole data set and for each split."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in parts:
        table.add_column(name, justify="right")
    rows: list[tuple[str, Cell]] = [
        ("videos", lambda d: f"{d.videos}"),
        ("  without an event", lambda d: f"{d.empty}"),
        ("  with overlapping events", lambda d: _percent(d.overlapping, d.videos)),
        ("hours", lambda d: f"{d.durations.sum() / 3600:.1f}"),
        ("duration of a video (s)", lambda d: _spread(d.durations, 1)),
        ("  median, mean", lambda d: _centre(d.durations)),
        ("classes", lambda d: f"{d.classes}"),
        ("  in a video, mean", lambda d: f"{d.classes_per_video.mean():.1f}"),
        ("events", lambda d: f"{len(d.lengths)}"),
        ("  in a video", lambda d: _spread(d.events_per_video, 0)),
        ("  median, mean", lambda d: _centre(d.events_per_video)),
        ("length of an event (s)", lambda d: _spread(d.lengths, 2)),
        ("  median, mean", lambda d: _centre(d.lengths)),
        ("pairs of one class that overlap", lambda d: f"{d.overlapping_alike}"),
    ]
    for name, cell in rows:
        table.add_row(name, *(cell(part) for part in parts.values()))
    return table


def levels_table(advice: Advice) -> Table:
    """What each level of the pyramid answers for."""
    table = Table(
        title=f"{advice.num_levels} levels, {advice.events} events",
        caption="answered: events with a positive point on the level; made for: events whose "
        "middle lies in its range",
        title_justify="left",
    )
    heads = ("level", "stride", "range (steps)", "range (s)", "answered", "points each",
             "made for", "median (strides)")  # fmt: skip
    for head in heads:
        table.add_column(head, justify="right", no_wrap="range" in head)
    step = advice.grid.stride / advice.grid.fps
    for number, level in enumerate(advice.levels, 1):
        table.add_row(
            f"{number}",
            f"{level.stride}",
            f"{level.low:g} – {_bound(level.high)}",
            f"{_bound(level.low * step)} – {_bound(level.high * step)}",
            _percent(level.events, advice.events),
            f"{level.points:.1f}",
            _percent(level.centred, advice.events),
            "–" if math.isnan(level.length) else f"{level.length:.1f}",
        )
    return table


def advice_lines(advice: Advice) -> list[str]:
    """The settings, each with where it comes from; then the warnings."""
    step = advice.grid.stride / advice.grid.fps
    top = advice.levels[-1].stride
    lines = [
        "settings for this data set:",
        f"  model.num_levels={advice.num_levels}"
        f"  (the middle of {100 * advice.reached:.1f} % of the events is at most 4 strides of "
        f"{top} steps from both ends)",
        f"  data.max_length={advice.max_length}"
        f"  (a multiple of {top}: {advice.max_length * step:.1f} s; "
        f"{100 * advice.covered:.1f} % of the videos fit in, the longest has {advice.longest} "
        "steps)",
        f"  attention.window_size={advice.window_size}"
        f"  (on the level made for it, an event is {advice.own_length:.1f} strides long in the "
        "median; the next power of 2)",
    ]
    lines += [f"warning: {warning}" for warning in advice.warnings]
    return lines


def _spread(values: np.ndarray, digits: int) -> str:
    return f"{values.min():.{digits}f} – {values.max():.{digits}f}" if len(values) else "–"


def _centre(values: np.ndarray) -> str:
    return f"{np.median(values):.1f}, {values.mean():.1f}" if len(values) else "–"


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %" if total else "–"


def _bound(value: float) -> str:
    return "∞" if math.isinf(value) else f"{round(value, 2):g}"

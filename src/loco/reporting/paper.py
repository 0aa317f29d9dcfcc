"""One figure of finished runs, as papers print it: read from their folders, sized and set."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import matplotlib
from matplotlib.figure import Figure
from matplotlib.text import Text

from loco.errors import LocoError
from loco.evaluation.metrics import precision_recall
from loco.reporting.figures import plot_similarity, plot_timeline, plot_windows
from loco.reporting.figures.precision_recall import plot_precision_recall
from loco.reporting.inspection import SPACE_NAMES, Space, cross_similarity, target_windows
from loco.runs.paired import check_same_events, check_same_test
from loco.runs.results import evaluation_columns
from loco.runs.run_folder import RunFolder
from loco.structures import Batch
from loco.training.module import LocalizationModule

COLUMN, TEXT = 3.3, 6.9
"""Inches of a column and of a page's text, as in most conferences' two columns."""
SMALLEST = 6.0
"""Points of the smallest letters."""
FONTS = {"sans": ["DejaVu Sans"], "serif": ["STIXGeneral", "DejaVu Serif"]}
"""Families that matplotlib brings along."""


@contextmanager
def lettering(font: Literal["sans", "serif"] = "sans") -> Iterator[None]:
    """Texts that are made and drawn within it are set in one of the families of `FONTS`."""
    with matplotlib.rc_context({"font.family": FONTS[font]}):
        yield


def fit(figure: Figure, width: float | None = None, height: float | None = None) -> None:
    """Bring a figure to a paper's width; letters shrink with it, but stay readable.

    Args:
        width: inches; None is a column's for a single small panel, else the text's.
        height: inches; None is what the figure asks for, not much taller than it is wide.
    """
    own_width, own_height = figure.get_size_inches()
    width = width or (COLUMN if own_width < 5 else TEXT)
    scale = min(width / own_width, 1.0)
    height = height or min(max(own_height * scale, 0.75 * own_height), 1.3 * width)
    figure.set_size_inches(width, height)
    axes = [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)]
    ticks = [(axis, axis.get_ticklabels()) for axis in axes]
    sizes = [(axis, _letters(labels[0], scale)) for axis, labels in ticks if labels]
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_fontsize(_letters(text, scale))
    for axis, size in sizes:  # also those of ticks that are made later
        axis.set_tick_params(labelsize=size)


def _letters(text: Text, scale: float) -> float:
    return max(float(text.get_fontsize()) * max(scale, 0.8), SMALLEST)


def timeline(
    runs: Mapping[str, RunFolder], video: str, min_score: float = 0.2, title: str = ""
) -> Figure:
    """The events of a test video and what each run says of it, a panel for each.

    Raises:
        LocoError: a run was not tested on it, or on other annotations than the first one.
    """
    first = next(iter(runs.values()))
    for run in runs.values():
        _check_video(run, video)
        check_same_events(first, run, [video])
    of_video = first.annotations[video]
    found = {name: run.predictions[video] for name, run in runs.items()}
    names = first.annotations.class_names
    return plot_timeline(of_video.events, found, names, of_video.duration, min_score, title)


def similarity(
    runs: Mapping[str, RunFolder], video: str, space: Space = "encoder", title: str = ""
) -> Figure:
    """Which moments of a test video look like which sound, a matrix for each run.

    Raises:
        LocoError: a run was not tested on it, on other annotations or another grid than the first
            one, or its detector has no such features.
    """
    matrices = {}
    first = next(iter(runs.values()))
    for run in runs.values():
        _check_video(run, video)
        check_same_events(first, run, [video])
        if run.data.grid != first.data.grid:
            raise LocoError(f"{run.path} has steps of another grid than {first.path}")
    for name, run in runs.items():
        module, batch = _seen(run, video)
        try:
            (matrix,) = cross_similarity(module, batch, space)
        except ValueError as error:
            raise LocoError(f"{run.path}: {error}") from None
        matrices[name or SPACE_NAMES[space]] = matrix
    names = first.annotations.class_names
    return plot_similarity(matrices, batch.grid, batch.events[0], names, title)


def windows(run: RunFolder, video: str, levels: int = 4, title: str = "") -> Figure:
    """Where the attention of a run looks in a test video.

    Raises:
        LocoError: it was not tested on it, or its attention has no windows that move.
    """
    module, batch = _seen(run, video)
    try:
        (found,) = target_windows(module, batch)
    except ValueError as error:
        raise LocoError(f"{run.path}: {error}") from None
    return plot_windows(found, title, levels)


def precision(runs: Mapping[str, RunFolder], tiou: float = 0.5, title: str | None = None) -> Figure:
    """Precision against recall over all test videos, a line for each run.

    Raises:
        LocoError: runs were tested on different videos or events.
    """
    first = next(iter(runs.values()))
    curves = {}
    for name, run in runs.items():
        check_same_test(first, run)
        columns = evaluation_columns(run.predictions, run.test_videos)
        curves[name] = precision_recall(columns, len(run.annotations.class_names), tiou)
    return plot_precision_recall(curves, tiou, title)


def _check_video(run: RunFolder, video: str) -> None:
    if all(video != tested.id for tested in run.test_videos):
        close = difflib.get_close_matches(video, run.predictions, 1, 0.4)
        hint = f"did you mean {close[0]}?" if close else "predictions.json names them"
        raise LocoError(f"{run.path}: no test video {video!r}; {hint}")


def _seen(run: RunFolder, video: str) -> tuple[LocalizationModule, Batch]:
    """A run's net, and the one test video for it."""
    _check_video(run, video)
    run.data.setup("test")
    dataset = run.data.dataset("test")
    if video not in dataset.video_ids:
        raise LocoError(f"{run.path}: {video}: its features are left out of the test split")
    return run.module(), dataset[[(0, dataset.video_ids.index(video))]]

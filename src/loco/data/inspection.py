"""A whole data set's feature files, checked before anything depends on them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.progress import Progress

from loco.data.annotations import Video
from loco.data.features import FeatureStore, Inspection
from loco.errors import FeatureError
from loco.structures import TimeGrid

log = logging.getLogger(__name__)

_SHOWN = 20  # problems or videos that a message names
_MANY = 1000  # videos from which on a log line says what is being waited for


def checked_files(
    store: FeatureStore, video_ids: list[str], *, full: bool, skip: bool
) -> Inspection:
    """What the headers of these videos' files say, without the videos that cannot be used.

    Args:
        store: where the files are.
        video_ids: whose.
        full: read every value, too.
        skip: leave out videos whose files cannot be used, with a warning.

    Raises:
        FeatureError: everything that is wrong; with `skip`, only that there is no file at all.
    """
    root, patterns = store.root, store.layout.patterns
    videos = len(set(video_ids))
    files = videos * len(patterns)
    began = time.perf_counter()
    if videos >= _MANY:
        log.info("checking the headers of %d feature files under %s …", files, root)
    inspection = store.inspect(video_ids)
    if videos >= _MANY:
        log.info("checked %d files in %.1f s", files, time.perf_counter() - began)
    if full:
        inspection = _without_bad_values(store, inspection)
    problems = inspection.problems
    bad = dict.fromkeys(problem.video_id for problem in problems)
    if len(bad) == videos and all(problem.reason == "missing" for problem in problems):
        held = sorted(path.name for path in root.iterdir())[:3]
        raise FeatureError(
            f"{root}: holds no file of the {videos} videos under the names of the "
            f"layout, {', '.join(patterns)}; what it holds: "
            + (", ".join(held) + ", …" if held else "nothing")
        )
    if problems and not skip:
        raise FeatureError(
            f"{root}: {len(bad)} of {videos} videos have files that cannot be used "
            f"(data.missing=skip leaves them out):\n{_lines(problems)}"
        )
    if problems:
        log.warning(
            "%s: %d of %d videos are left out, their files cannot be used:\n%s",
            *(root, len(bad), videos, _lines(problems)),
        )
    return inspection


def _without_bad_values(store: FeatureStore, inspection: Inspection) -> Inspection:
    """The same without videos whose values are not all `usable`, after reading all of them."""
    with Progress(transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(escape(f"reading {store.root}"), total=len(inspection.lengths))
        found = store.check_values(list(inspection.lengths), lambda: bar.advance(task))
    bad = {problem.video_id for problem in found}
    lengths = {i: steps for i, steps in inspection.lengths.items() if i not in bad}
    return replace(inspection, lengths=lengths, problems=[*inspection.problems, *found])


def told_lengths(
    root: Path, grid: TimeGrid, lengths: Mapping[str, int], annotations: Mapping[str, Video]
) -> str:
    """That the lengths of features and videos hardly belong together; nothing if they do."""
    ratios = [
        grid.end_seconds(steps) / annotations[video_id].duration
        for video_id, steps in lengths.items()
        if video_id in annotations
    ]
    if not ratios or 0.7 < (ratio := float(np.median(ratios))) < 1.4:
        return ""
    return (
        f"{root}: by the layout ({grid.fps:g} fps, window {grid.window}, stride {grid.stride}) the "
        f"features last {ratio:.3g} times as long as the videos; are these the numbers they were "
        "made with, and are times in seconds?"
    )


def _lines(items: Iterable[object]) -> str:
    """The first few on a line each, and how many more there are."""
    items = list(items)
    lines = [f"  {item}" for item in items[:_SHOWN]]
    if len(items) > _SHOWN:
        lines.append(f"  … and {len(items) - _SHOWN} more")
    return "\n".join(lines)

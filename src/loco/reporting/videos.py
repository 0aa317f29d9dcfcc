"""The test videos of a run's page, as its script draws them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib
import numpy as np

from loco.data.annotations import Video
from loco.evaluation.metrics import map_by_video
from loco.evaluation.similarity import mean_of_std
from loco.reporting.figures.style import SEQUENTIAL
from loco.reporting.inspection import SPACE_NAMES, Space, VideoSimilarity
from loco.reporting.page import png_uri
from loco.runs.results import evaluation_columns
from loco.runs.text import shown as printable
from loco.structures import Events
from loco.video.sources import ENDINGS


def video_scores(
    found: Mapping[str, Events], videos: Sequence[Video], num_classes: int
) -> dict[str, float]:
    """The mAP of each video by itself; those without events have none."""
    columns = evaluation_columns(found, videos)
    values = map_by_video(columns, len(videos), num_classes)
    return {video.id: float(v) for video, v in zip(videos, values, strict=True) if not np.isnan(v)}


def choose(videos: Sequence[Video], scores: Mapping[str, float], count: int) -> list[Video]:
    """So many of the videos, in their order: a quarter each of the best and of the worst, and
    others, evenly spread.
    """
    if count >= len(videos):
        return list(videos)
    ranked = sorted(scores, key=lambda video_id: -scores[video_id])
    ends = min(count // 2, len(ranked))
    best = (ends + 1) // 2
    kept = {*ranked[:best], *ranked[len(ranked) - (ends - best) :]}
    others = [video.id for video in videos if video.id not in kept]
    number = count - len(kept)
    kept |= {others[i * len(others) // number] for i in range(number)}
    return [video for video in videos if video.id in kept]


def find_film(root: Path, video_id: str) -> Path | None:
    """The film of a video: a file of its id in a folder, with an ending that films have."""
    names = (f"{video_id}{ending}" for ending in ENDINGS)
    return next((root / name for name in names if (root / name).is_file()), None)


def page_data(
    shown: Sequence[Video],
    names: Sequence[str],
    found: Mapping[str, Mapping[str, Events]],
    scores: Mapping[str, Mapping[str, float]],
    seen: Mapping[Space, Sequence[VideoSimilarity]],
    films: Path | None,
    page: Path,
) -> dict[str, Any]:
    """What the page's script draws; see `_compact` for the events.

    Args:
        shown: the videos.
        names: of the K classes.
        found: detections of each run by video; this run's are the first.
        scores: of each run by video, likewise.
        seen: cross-similarities of the videos by space.
        films: a folder with the films, None where none was named.
        page: that links to them, by paths relative to it.
    """
    mine, *others = found.values()
    scales, matrices = _matrices(seen)
    colors = matplotlib.colormaps[SEQUENTIAL](np.linspace(0, 1, 9))
    return {
        "classes": list(names),
        "palette": [matplotlib.colors.to_hex(color) for color in colors],
        "scales": scales,
        "runs": list(found),
        "videoRoot": None if films is None else str(films),
        "videos": [
            {
                "id": video.id,
                "duration": video.duration,
                "truth": _compact(video.events),
                "found": _compact(mine[video.id]),
                "other": [_compact(of_run[video.id]) for of_run in others],
                "scores": [of_run.get(video.id) for of_run in scores.values()],
                "matrices": matrices.get(video.id, []),
                "film": _relative(films and find_film(films, video.id), page),
            }
            for video in shown
        ],
    }


def _relative(film: Path | None, page: Path) -> dict[str, str] | None:
    if film is None:
        return None
    path = os.path.relpath(film.absolute(), page.absolute().parent).replace(os.sep, "/")
    return {"path": printable(path), "src": quote(os.fsencode(path))}


def _matrices(
    seen: Mapping[Space, Sequence[VideoSimilarity]],
) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """The scale of each space, and the matrices of each video."""
    matrices: dict[str, list[dict[str, Any]]] = {}
    scales = []
    for place, (space, of_space) in enumerate(seen.items()):
        low, high = np.percentile(np.concatenate([v.matrix.ravel() for v in of_space]), [1, 99])
        spread = mean_of_std(video.matrix for video in of_space)
        scales.append({"name": SPACE_NAMES[space], "low": low, "high": high, "meanOfStd": spread})
        for video in of_space:
            entry = {
                "scale": place,
                "image": png_uri(video.matrix, float(low), float(high)),
                "start": video.grid.to_seconds(-0.5),
                "end": video.grid.to_seconds(len(video.matrix) - 0.5),
                "std": float(video.matrix.std()),
            }
            matrices.setdefault(video.video_id, []).append(entry)
    return scales, matrices


def _compact(events: Events) -> list[list[int]]:
    """[start, end, label, score] of each event: milliseconds, and thousandths of a score."""
    scores = np.ones(len(events)) if events.scores is None else events.scores.numpy()
    table = np.column_stack([1000 * events.segments.numpy(), events.labels.numpy(), 1000 * scores])
    return np.round(table).astype(int).tolist()

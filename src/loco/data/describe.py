"""What an annotation file holds, and which settings of a model and its training suit it.

Advice is counted, not guessed: `loco.detection.assignment` itself says which points answer for
which events on the grid that the features will have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from loco.data.annotations import SUBSETS, Annotations, Video
from loco.detection.assignment import FIRST_RANGE, assign_batch, default_ranges, make_points
from loco.errors import AnnotationError, listed
from loco.structures import TimeGrid

COVERAGE = 0.99  # part of the training videos, or events, that a setting must do for
ADVISED_LEVELS = 10
MIN_EVENTS = 10  # of a class, in training
_CHUNK = 1000  # events that are assigned at once
_NAMED = 8  # classes that a warning names


@dataclass(frozen=True, slots=True, eq=False)
class Description:
    """What a set of videos holds.

    Args:
        videos, empty: all videos, and those without an event.
        classes: classes that have an event in it.
        durations: (videos,) seconds.
        lengths: (N,) seconds, of the events.
        events_per_video, classes_per_video: (videos,) counts.
        overlapping: videos in which two events overlap.
        overlapping_alike: pairs of overlapping events of one class.
    """

    videos: int
    empty: int
    classes: int
    durations: np.ndarray
    lengths: np.ndarray
    events_per_video: np.ndarray
    classes_per_video: np.ndarray
    overlapping: int
    overlapping_alike: int


@dataclass(frozen=True, slots=True)
class LevelUse:
    """What a level of the pyramid has to do.

    Args:
        stride: steps between its points.
        low, high: its regression range, in steps.
        events: events with a positive point on it.
        points: positive points of such an event, in the mean.
        centred: events whose middle lies in its range: the level that is made for them.
        length: their median length in strides of the level; NaN without any.
    """

    stride: int
    low: float
    high: float
    events: int
    points: float
    centred: int
    length: float


@dataclass(frozen=True, slots=True)
class Advice:
    """Settings for a data set on a grid, and what to know before training on it.

    Args:
        grid: of the features.
        events: events that were counted: those of the training split, or all without one.
        num_levels: `model.num_levels`, the fewest whose last level reaches far enough, or as asked.
        reached: part of the events whose middle its last level reaches by four strides.
        max_length: `data.max_length`, in steps.
        covered: part of the training videos that are not cropped by it.
        longest: steps of the longest training video.
        levels: what each level does.
        pointless: events without any point strictly inside them that may answer for them.
        window_size: `attention.window_size`.
        own_length: median length of an event in strides of the level made for it.
        warnings: a sentence each.
    """

    grid: TimeGrid
    events: int
    num_levels: int
    reached: float
    max_length: int
    covered: float
    longest: int
    levels: tuple[LevelUse, ...]
    pointless: int
    window_size: int
    own_length: float
    warnings: tuple[str, ...]


def describe(videos: Sequence[Video]) -> Description:
    """Count what videos hold."""
    segments = [video.events.segments.numpy() for video in videos]
    labels = [video.events.labels.tolist() for video in videos]
    pairs = [_overlapping_pairs(s, k) for s, k in zip(segments, labels, strict=True)]
    every = np.concatenate([np.zeros((0, 2)), *segments])
    return Description(
        videos=len(videos),
        empty=sum(not of_video for of_video in labels),
        classes=len({label for of_video in labels for label in of_video}),
        durations=np.array([video.duration for video in videos]),
        lengths=every[:, 1] - every[:, 0],
        events_per_video=np.array([len(of_video) for of_video in labels]),
        classes_per_video=np.array([len(set(of_video)) for of_video in labels]),
        overlapping=sum(any_pair > 0 for any_pair, _ in pairs),
        overlapping_alike=sum(alike for _, alike in pairs),
    )


def describe_splits(annotations: Annotations) -> dict[str, Description]:
    """The whole data set under "all", then each of its splits."""
    videos = list(annotations.values())
    parts = {name: [v for v in videos if v.subset == name] for name in SUBSETS}
    return {"all": describe(videos)} | {k: describe(some) for k, some in parts.items() if some}


def num_steps(duration: float, grid: TimeGrid) -> int:
    """Whole windows that fit into a duration in seconds; at least 1, as extractors pad."""
    frames = round(duration * grid.fps, 6)  # a product such as 1.1 · 10 lies just beside
    return 1 + max(0, int((frames - grid.window) // grid.stride))


def advise(annotations: Annotations, grid: TimeGrid, num_levels: int | None = None) -> Advice:
    """Derive settings from the training split (from all videos where there is none).

    The number of levels is the least with which `COVERAGE` of the events have a point that is no
    farther than four strides of its level from either end, as on all levels but the last, whose
    range is open. `max_length` is the least multiple of the last level's stride that `COVERAGE` of
    the videos fit in. The window is the power of 2 that is no less than the median length of an
    event, counted in strides of the level in whose range its middle lies.

    Args:
        annotations: what to train on.
        grid: the grid that the features have, or will have.
        num_levels: take this number instead.

    Raises:
        AnnotationError: there is no event to learn from.
    """
    train = [video for video in annotations.values() if video.subset == "train"]
    videos = train or list(annotations.values())
    steps = np.array([num_steps(video.duration, grid) for video in videos])
    segments = [grid.to_steps(video.events.segments.numpy()) for video in videos]
    segment_steps = np.concatenate([np.zeros((0, 2)), *segments])
    if not len(segment_steps):
        raise AnnotationError(f"{annotations.source}: no event to learn from")
    last_step = np.repeat(steps - 1, [len(some) for some in segments])
    lengths = segment_steps[:, 1] - segment_steps[:, 0]

    if num_levels is None:
        reach = float(np.quantile(lengths / 2, COVERAGE, method="inverted_cdf"))
        wanted = 1 + int(np.ceil(np.log2(max(reach / FIRST_RANGE, 1.0))))
        num_levels = min(wanted, ADVISED_LEVELS)
    stride = 2 ** (num_levels - 1)
    enough = int(np.quantile(steps, COVERAGE, method="inverted_cdf"))
    max_length = stride * -(-enough // stride)

    levels, answered = _level_use(segment_steps, last_step, num_levels)
    own = _own_level(lengths, num_levels)
    own_length = float(np.median(lengths / 2.0**own))
    return Advice(
        grid=grid,
        events=len(lengths),
        num_levels=num_levels,
        reached=float((lengths / 2 <= FIRST_RANGE * stride).mean()),
        max_length=max_length,
        covered=float((steps <= max_length).mean()),
        longest=int(steps.max()),
        levels=levels,
        pointless=int((~answered).sum()),
        window_size=2 ** max(int(np.ceil(np.log2(own_length))), 1),
        own_length=own_length,
        warnings=(
            *_class_warnings(annotations),
            *_length_warnings(lengths, answered, grid, stride, max_length, bool(train)),
        ),
    )


def _level_use(
    segment_steps: np.ndarray, last_step: np.ndarray, num_levels: int
) -> tuple[tuple[LevelUse, ...], np.ndarray]:
    """What each level answers for, and (N,) which events have an answering point at all.

    Each event is asked on its own, so that another one of its class takes none of its points.
    """
    strides = [2**level for level in range(num_levels)]
    ranges = default_ranges(num_levels)
    points = make_points(int(last_step.max()) + 1, strides, dtype=torch.float64)
    level_of = points[:, 3].log2().round().long().numpy()
    step_of = points[:, 0].numpy()
    counts = np.zeros((len(segment_steps), num_levels), dtype=np.int64)
    for first in range(0, len(segment_steps), _CHUNK):
        chunk = torch.from_numpy(segment_steps[first : first + _CHUNK])
        zeros = torch.zeros(len(chunk), dtype=torch.long)
        positives = assign_batch(points, chunk, zeros, torch.arange(len(chunk)), len(chunk), 1)
        event, point = first + positives.video.numpy(), positives.point.numpy()
        real = step_of[point] <= last_step[event]
        np.add.at(counts, (event[real], level_of[point[real]]), 1)
    lengths = segment_steps[:, 1] - segment_steps[:, 0]
    own = _own_level(lengths, num_levels)
    levels = []
    for level, (stride, (low, high)) in enumerate(zip(strides, ranges, strict=True)):
        of_level, made_for = counts[:, level], lengths[own == level] / stride
        answered = of_level[of_level > 0]
        levels.append(
            LevelUse(
                stride, low, high, len(answered),
                float(answered.mean()) if len(answered) else 0.0,
                len(made_for), float(np.median(made_for)) if len(made_for) else float("nan"),
            )
        )  # fmt: skip
    return tuple(levels), counts.sum(1) > 0


def _own_level(lengths: np.ndarray, num_levels: int) -> np.ndarray:
    """(N,) the level in whose regression range the middle of an event of this length lies."""
    bounds = [high for _, high in default_ranges(num_levels)[:-1]]
    return np.searchsorted(bounds, lengths / 2)


def _class_warnings(annotations: Annotations) -> list[str]:
    names = annotations.class_names
    present = {video.subset for video in annotations.values()}
    counts: dict[str, Counter[int]] = {subset: Counter() for subset in SUBSETS}
    for video in annotations.values():
        counts[video.subset].update(video.events.labels.tolist())
    warnings = [f"there is no {subset} split" for subset in SUBSETS if subset not in present]
    if "train" in present:
        rare = [k for k in range(len(names)) if 0 < counts["train"][k] < MIN_EVENTS]
        if rare:
            warnings.append(
                f"{_classes(len(rare))} with fewer than {MIN_EVENTS} training events: "
                + listed([f"{names[k]} ({counts['train'][k]})" for k in rare], _NAMED)
            )
    for subset in SUBSETS:
        absent = [name for k, name in enumerate(names) if not counts[subset][k]]
        if subset in present and absent:
            note = "cannot be learnt" if subset == "train" else "do not count in its mAP"
            warnings.append(
                f"{_classes(len(absent))} without an event in the {subset} split, "
                f"which {note}: {listed(absent, _NAMED)}"
            )
    return warnings


def _length_warnings(
    lengths: np.ndarray,
    answered: np.ndarray,
    grid: TimeGrid,
    stride: int,
    max_length: int,
    of_training: bool,
) -> list[str]:
    """Of events that the grid or the pyramid does not do for; lengths in steps."""
    step, total = grid.stride / grid.fps, len(lengths)
    what = "training events" if of_training else "events"
    warnings = []

    def share(count: int) -> str:
        percent = f"{100 * count / total:.1f}" if count < total else "100"
        return f"{count} of {total} {what} ({percent} %)"

    if lost := int((~answered).sum()):
        warnings.append(
            f"{share(lost)} have no point inside them, being short, or where no window is "
            "centred at either end of a video: nothing is learnt from them"
        )
    if short := int((lengths < 1).sum()):
        warnings.append(f"{share(short)} are shorter than a step ({step:.3g} s)")
    reach = 2 * FIRST_RANGE * stride
    if far := int((lengths > reach).sum()):
        warnings.append(
            f"{share(far)} are longer than {reach:.0f} steps ({reach * step:.3g} s), so that the "
            "last level must tell distances of over 4 strides; another level helps"
        )
    if cropped := int((lengths > max_length).sum()):
        warnings.append(f"{share(cropped)} are longer than max_length: training sees parts only")
    return warnings


def _overlapping_pairs(segments: np.ndarray, labels: list[int]) -> tuple[int, int]:
    """Pairs of events that overlap, and those of one class among them."""
    pairs = [
        labels[i] == labels[j]
        for i, j in combinations(range(len(labels)), 2)
        if max(segments[i, 0], segments[j, 0]) < min(segments[i, 1], segments[j, 1])
    ]
    return len(pairs), sum(pairs)


def _classes(count: int) -> str:
    return "1 class" if count == 1 else f"{count} classes"

"""Which points of the pyramid answer for which events: the training targets of the decoder.

A point (level l, step t) is positive for an event when t lies strictly inside it and the larger of
its two distances to the boundaries lies in the level's regression range, both ends included. Each
class is decided on its own, so one point can be positive for several. Where two events of one class
claim a point the shorter has it, and of two equally long ones the first [U].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from loco.structures import Events, TimeGrid

if TYPE_CHECKING:
    from loco.detection.outputs import PointOutputs

FIRST_RANGE = 4.0
"""Steps up to which the finest level regresses; every coarser level reaches twice as far [U]."""


class Positives(NamedTuple):
    """The positive (video, point, class) triples of a batch, M of them, sorted in that order.

    Attributes:
        video: (M,) long, index in the batch.
        point: (M,) long, index into the points.
        label: (M,) long, class id.
        offsets: (M, 2) distances from the point to the event's start and end, in strides.
    """

    video: Tensor
    point: Tensor
    label: Tensor
    offsets: Tensor


def default_ranges(num_levels: int) -> list[tuple[float, float]]:
    """Regression ranges in steps: [0, 4], [4, 8], [8, 16] …, the last one open-ended."""
    bounds = [0.0, *(FIRST_RANGE * 2**level for level in range(num_levels - 1)), float("inf")]
    return list(pairwise(bounds))


def make_points(
    num_steps: int,
    strides: Sequence[int] = (1, 2, 4, 8, 16, 32),
    ranges: Sequence[tuple[float, float]] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The points of a pyramid over `num_steps` steps, one level after another.

    A level of stride s has ⌈T/s⌉ points, at the steps 0, s, 2s, … below T.

    Args:
        num_steps: T, may be 0.
        strides: steps between the points of each level.
        ranges: (low, high) in steps for each level; `default_ranges` if None.

    Returns:
        (P, 4): step, range low, range high, stride; all in steps.

    Raises:
        ValueError: a negative `num_steps`, no or non-positive strides, or not one range a level.
    """
    if num_steps < 0:
        raise ValueError(f"num_steps must not be negative, got {num_steps}")
    if not strides or min(strides) < 1:
        raise ValueError(f"strides must be positive, got {list(strides)}")
    if ranges is None:
        ranges = default_ranges(len(strides))
    if len(ranges) != len(strides):
        raise ValueError(
            f"ranges must be one for each of the {len(strides)} levels, got {len(ranges)}"
        )
    levels = []
    for stride, (low, high) in zip(strides, ranges, strict=True):
        steps = torch.arange(0, num_steps, stride, device=device).to(dtype)
        level = steps.new_tensor([0.0, low, high, float(stride)]).repeat(len(steps), 1)
        level[:, 0] = steps
        levels.append(level)
    return torch.cat(levels)


@dataclass(frozen=True)
class RangeAssigner:
    """The rule above as a part of a detector, configured like its criterion and its decoding.

    Args:
        ranges: (low, high) in steps, what each level regresses; None is `default_ranges`.

    Raises:
        ValueError: a range that is none.
    """

    ranges: Sequence[tuple[float, float]] | None = None

    single_target: ClassVar[bool] = False
    """Whether a point learns the boundaries of one event alone, as a head needs that gives it one
    pair for all classes."""

    def __post_init__(self) -> None:
        for pair in self.ranges or ():
            numbers = isinstance(pair, Sequence) and len(pair) == 2
            numbers = numbers and all(isinstance(x, int | float) for x in pair)
            if not numbers or not 0 <= pair[0] <= pair[1]:
                raise ValueError(f"ranges must be pairs 0 ≤ low ≤ high in steps, got {pair}")

    def check_fits(self, strides: Sequence[int], *, class_aware: bool = True) -> None:
        """Refuse a net that this rule does not go with.

        Args:
            strides: of its levels.
            class_aware: whether its head gives each class boundaries of its own.

        Raises:
            ValueError: not one range a level; and as `check_head`.
        """
        self.points(0, strides)
        self.check_head(class_aware)

    def check_head(self, class_aware: bool) -> None:
        """Refuse a head whose points would learn the boundaries of one of their events alone.

        Args:
            class_aware: whether it gives each class boundaries of its own.

        Raises:
            ValueError: it does not, and this rule gives a point several events.
        """
        if not class_aware and not self.single_target:
            raise ValueError(
                f"assigner must give a point one event, as {type(self).__name__} does not: the "
                "head's boundaries are common to all classes (take CenterAssigner: "
                "part=center_sampling)"
            )

    def points(
        self, num_steps: int, strides: Sequence[int], device: torch.device | str | None = None
    ) -> Tensor:
        """The points (P, 4) of a pyramid over `num_steps` steps, see `make_points`."""
        return make_points(num_steps, strides, self.ranges, device)

    def __call__(
        self, points: Tensor, events: Sequence[Events], grid: TimeGrid, num_classes: int
    ) -> Positives:
        """The positives of a batch, on the device of the points.

        Args:
            points: (P, 4), common to the videos.
            events: B ground truths, in seconds.
            grid: turns seconds into steps.
            num_classes: K.
        """
        segments = torch.cat([of_video.segments for of_video in events])
        counts = torch.tensor([len(of_video) for of_video in events])
        video = torch.arange(len(events)).repeat_interleave(counts)
        return self.assign(
            points,
            grid.to_steps(segments).float().to(points.device),
            torch.cat([of_video.labels for of_video in events]).to(points.device),
            video.to(points.device),
            num_videos=len(events),
            num_classes=num_classes,
        )

    def assign(
        self, points: Tensor, segment_steps: Tensor, labels: Tensor, video: Tensor, *,
        num_videos: int, num_classes: int,
    ) -> Positives:  # fmt: skip
        """What another rule overrides; arguments as `assign_batch`'s."""
        return assign_batch(points, segment_steps, labels, video, num_videos, num_classes)

    def choose(self, positives: Positives, outputs: PointOutputs) -> Positives:
        """Those of the positives that count, given what the net says: here all of them."""
        return positives


def assign_batch(
    points: Tensor,
    segment_steps: Tensor,
    labels: Tensor,
    video: Tensor,
    num_videos: int,
    num_classes: int,
) -> Positives:
    """The positives of all videos of a batch at once, by index rather than as a (B, P, K) mask.

    Args:
        points: (P, 4) of `make_points`, common to the videos.
        segment_steps: (N, 2) events of all videos, in steps.
        labels: (N,) long class ids.
        video: (N,) long, the video of each event. Which of two equally long events comes first is
            decided by their order here.
        num_videos: B.
        num_classes: K.

    Returns:
        Positives; offsets are float32, or float64 where an input is.

    Raises:
        ValueError: shapes do not fit, or a label or video lies outside its range.
    """
    check_events(points, segment_steps, labels, video, num_videos, num_classes)
    dtype = torch.promote_types(torch.promote_types(points.dtype, segment_steps.dtype), torch.float)
    step, low, high, stride = points.to(dtype).unbind(1)
    # The order of precedence; events are rows from here on, so row-major order keeps it.
    segments = segment_steps.to(dtype)
    order = torch.argsort(segments[:, 1] - segments[:, 0], stable=True)
    segments = segments[order]

    left = step - segments[:, :1]  # (N, P)
    right = segments[:, 1:] - step
    reach = torch.maximum(left, right)
    claims = (torch.minimum(left, right) > 0) & (low <= reach) & (reach <= high)
    event, point = claims.nonzero(as_tuple=True)

    cell = (video[order[event]] * len(points) + point) * num_classes + labels[order[event]]
    cell, by_cell = torch.sort(cell, stable=True)
    first = torch.ones_like(cell, dtype=torch.bool)
    first[1:] = cell[1:] != cell[:-1]
    cell, by_cell = cell[first], by_cell[first]
    event, point = event[by_cell], point[by_cell]
    offsets = torch.stack([left[event, point], right[event, point]], 1) / stride[point, None]
    return Positives(video[order[event]], point, cell % num_classes, offsets)


def assign(
    points: Tensor, segments: Tensor, labels: Tensor, num_classes: int
) -> tuple[Tensor, Tensor]:
    """The targets of one video, dense.

    Args:
        points: (P, 4) step, range low, range high, stride.
        segments: (N, 2) events in steps.
        labels: (N,) long class ids.
        num_classes: K.

    Returns:
        cls (P, K) bool, True where a point is positive; offsets (P, K, 2) distances to the start
        and the end in strides, 0 where `cls` is False.

    Raises:
        ValueError: as `assign_batch`.
    """
    positives = assign_batch(points, segments, labels, torch.zeros_like(labels), 1, num_classes)
    cls = torch.zeros(len(points), num_classes, dtype=torch.bool, device=points.device)
    offsets = positives.offsets.new_zeros(len(points), num_classes, 2)
    cls[positives.point, positives.label] = True
    offsets[positives.point, positives.label] = positives.offsets
    return cls, offsets


def check_events(
    points: Tensor,
    segment_steps: Tensor,
    labels: Tensor,
    video: Tensor,
    num_videos: int,
    num_classes: int,
) -> None:
    """Refuse shapes that do not fit, labels and videos outside their range.

    Raises:
        ValueError: says which.
    """
    count = len(labels)
    if points.ndim != 2 or points.shape[1] != 4:
        raise ValueError(f"points must be of shape (P, 4), got {tuple(points.shape)}")
    if segment_steps.shape != (count, 2):
        raise ValueError(f"segments must be ({count}, 2), got {tuple(segment_steps.shape)}")
    for name, index, size in (("labels", labels, num_classes), ("video", video, num_videos)):
        if index.shape != (count,) or index.dtype != torch.long:
            raise ValueError(f"{name} must be long ({count},), got {index.dtype} {index.shape}")
        if count and not ((index >= 0) & (index < size)).all():
            raise ValueError(f"{name} must lie in [0, {size})")

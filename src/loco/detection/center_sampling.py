"""Class-agnostic assignment: one event a point, taken near the events' centres (ActionFormer).

A point (level of stride s, step t) may answer for an event when t lies strictly inside the zone of
r strides to either side of the event's centre, cut to the event, and the larger of its distances to
the event's own boundaries lies in the level's range. Among those the shortest event has the point,
and of equally long ones the first: its boundaries are the point's only target. Every event that is
as short, but for 0.001 step, marks its class as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from loco.detection.assignment import Positives, RangeAssigner, check_events
from loco.errors import check_number

TIE = 1e-3
"""Steps by which an event may be longer than the shortest one, and still mark its class."""


@dataclass(frozen=True)
class CenterAssigner(RangeAssigner):
    """The rule above as a part of a detector, wherever a `RangeAssigner` can stand.

    Args:
        radius: r, in strides; None takes all points strictly inside an event.

    Raises:
        ValueError: a radius that is not positive.
    """

    radius: float | None = None

    single_target: ClassVar[bool] = True

    def __post_init__(self) -> None:
        RangeAssigner.__post_init__(self)
        if self.radius is not None:
            check_number("radius", self.radius, 0, without="low")

    def assign(
        self, points: Tensor, segment_steps: Tensor, labels: Tensor, video: Tensor, *,
        num_videos: int, num_classes: int,
    ) -> Positives:  # fmt: skip
        return assign_centers(
            points, segment_steps, labels, video, num_videos, num_classes, self.radius
        )


def assign_centers(
    points: Tensor,
    segment_steps: Tensor,
    labels: Tensor,
    video: Tensor,
    num_videos: int,
    num_classes: int,
    radius: float | None = None,
) -> Positives:
    """The positives of all videos of a batch; a point's have the same offsets, whatever the class.

    Args:
        points: (P, 4) step, range low, range high, stride; common to the videos.
        segment_steps: (N, 2) events of all videos, in steps.
        labels: (N,) long class ids.
        video: (N,) long, the video of each event; their order decides between equally long ones.
        num_videos: B.
        num_classes: K.
        radius: r in strides; None is no limit.

    Raises:
        ValueError: shapes do not fit, or a label or video lies outside its range.

    Source: Zhang et al. 2022, ActionFormer; centre sampling after FCOS (Tian et al. 2019).
    """
    check_events(points, segment_steps, labels, video, num_videos, num_classes)
    dtype = torch.promote_types(torch.promote_types(points.dtype, segment_steps.dtype), torch.float)
    step, low, high, stride = points.to(dtype).unbind(1)
    segments = segment_steps.to(dtype)
    length = segments[:, 1] - segments[:, 0]
    order = torch.argsort(length, stable=True)  # events are rows in the order of precedence
    segments, length, labels, video = segments[order], length[order], labels[order], video[order]

    start, end = segments[:, :1], segments[:, 1:]
    left, right = step - start, end - step  # (N, P)
    reach = torch.maximum(left, right)
    away = (step - (start + end) / 2).abs()
    zone = stride * (math.inf if radius is None else radius)
    claims = (torch.minimum(left, right) > 0) & (away < zone) & (low <= reach) & (reach <= high)
    event, point = claims.nonzero(as_tuple=True)

    cell, by_cell = torch.sort(video[event] * len(points) + point, stable=True)
    event, point = event[by_cell], point[by_cell]
    new = torch.ones_like(cell, dtype=torch.bool)
    new[1:] = cell[1:] != cell[:-1]
    shortest = event[new][new.cumsum(0) - 1]  # the event that has each claim's point
    marks = length[event] <= length[shortest] + TIE
    marked = cell[marks] * num_classes + labels[event[marks]]
    marked, place = torch.unique(marked, return_inverse=True)
    owner = torch.empty_like(marked).scatter_(0, place, shortest[marks])
    cell, label = marked // num_classes, marked % num_classes
    video, point = cell // len(points), cell % len(points)
    offsets = torch.stack([left[owner, point], right[owner, point]], 1) / stride[point, None]
    return Positives(video, point, label, offsets)

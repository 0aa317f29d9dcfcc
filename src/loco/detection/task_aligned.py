"""Task-aligned assignment: the points that already find an event best are those that learn it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loco.detection.assignment import Positives, RangeAssigner, make_points
from loco.detection.losses import giou_loss
from loco.detection.outputs import PointOutputs
from loco.errors import check_number

PLACE = 0.25
"""Steps up to which two boundaries of a class are the same event's."""


@dataclass(frozen=True)
class TaskAlignedAssigner(RangeAssigner):
    """Of the points inside an event, whatever their level, those of the highest alignment

        t = s^α · IoU^β,

    s the score that the net gives the event's class there, IoU that of the segment it gives.

    Args:
        top: points an event has at most.
        alpha, beta: α and β.
        ranges: as `RangeAssigner`; None lets every level answer for every event.

    Raises:
        ValueError: a number out of range.

    Source: Feng et al. 2021, TOOD, section 3.2.
    """

    top: int = 13
    alpha: float = 1.0
    beta: float = 6.0

    def __post_init__(self) -> None:
        RangeAssigner.__post_init__(self)
        check_number("top", self.top, 1, whole=True)
        check_number("alpha", self.alpha, 0)
        check_number("beta", self.beta, 0)

    def points(
        self, num_steps: int, strides: Sequence[int], device: torch.device | str | None = None
    ) -> Tensor:
        ranges = self.ranges or [(0.0, math.inf)] * len(strides)
        return make_points(num_steps, strides, ranges, device)

    @torch.no_grad()
    def choose(self, positives: Positives, outputs: PointOutputs) -> Positives:
        """The best points of each event; those in the padding are none."""
        video, point, label, target = positives
        offsets = outputs.offsets[video, point, label]
        iou = (1 - giou_loss(offsets.float(), target.float())).clamp(min=0)
        score = outputs.logits[video, point, label].float().sigmoid()
        alignment = score**self.alpha * iou**self.beta
        real = outputs.mask[video, point]
        event = self._events(positives, outputs.points)
        order = torch.argsort(alignment.masked_fill(~real, -1), descending=True, stable=True)
        order = order[torch.argsort(event[order], stable=True)]
        first = torch.searchsorted(event[order], event[order])
        best = torch.arange(len(order), device=order.device) - first < self.top
        kept = torch.zeros_like(real)
        kept[order] = best
        return Positives(*(x[kept & real] for x in positives))

    @staticmethod
    def _events(positives: Positives, points: Tensor) -> Tensor:
        """A number for each event, (M,), the same for all of its points."""
        at = points[positives.point].double()
        reach = positives.offsets.double() * at[:, 3:]
        ends = torch.stack([at[:, 0] - reach[:, 0], at[:, 0] + reach[:, 1]], 1)
        places = (ends / PLACE).round().long()
        names = torch.cat([positives.video[:, None], positives.label[:, None], places], 1)
        number: Tensor = torch.unique(names, dim=0, return_inverse=True)[1]
        return number

"""The boxes a level starts from, the code that moves them, and which of them stand for events."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from loco.detectors.vsgn.stitching import Targets

CENTRE_CODE, LENGTH_CODE = 10.0, 5.0
"""Factors of the box code on a shift of the centre, and on the logarithm of a change of length."""

LONGEST = math.log(62.5)
"""The largest logarithm of a factor on an anchor's length."""


def make_anchors(length: int, strides: Sequence[int], scales: Sequence[float]) -> Tensor:
    """Boxes (P, 2) in frames: at each place of each level one of each scale, level by level.

    Place i of a level of stride s has its centre at i·s + s/2, and a box of scale a is a·s frames
    long, the first and the last of them counted: its ends lie (a·s − 1)/2 from the centre.

    Args:
        length: L, frames.
        strides: of the levels.
        scales: lengths in strides.
    """
    levels = []
    for stride in strides:
        centre = torch.arange(-(-length // stride)) * stride + stride / 2
        half = (torch.tensor(scales, dtype=torch.float) * stride - 1) / 2
        ends = torch.stack([centre[:, None] - half, centre[:, None] + half], dim=-1)
        levels.append(ends.flatten(0, 1))
    return torch.cat(levels)


def decode(offsets: Tensor, anchors: Tensor) -> Tensor:
    """The boxes (…, 2) that offsets (…, 2) make of anchors.

    An offset says how far the centre moves, in lengths of the anchor, and the logarithm of the
    factor on that length, each times its factor of the code.
    """
    anchor_length = anchors[..., 1] - anchors[..., 0] + 1
    centre = anchors.mean(-1) + offsets[..., 0] / CENTRE_CODE * anchor_length
    length = (offsets[..., 1] / LENGTH_CODE).clamp(max=LONGEST).exp() * anchor_length
    return torch.stack([centre - (length - 1) / 2, centre + (length - 1) / 2], dim=-1)


def overlaps(boxes: Tensor, targets: Targets) -> Tensor:
    """IoU (R, E, P) of events and boxes (P, 2) or (R, P, 2), −1 where there is no event.

    As the public code has it, a box is a frame longer than its ends say and an event is not.
    """
    boxes = boxes.expand(len(targets.boxes), -1, -1).unsqueeze(1)
    events = targets.boxes.unsqueeze(2)
    ends = torch.minimum(boxes[..., 1], events[..., 1])
    shared = (ends - torch.maximum(boxes[..., 0], events[..., 0])).clamp(min=0)
    lengths = boxes[..., 1] - boxes[..., 0] + 1 + events[..., 1] - events[..., 0]
    iou = shared / (lengths - shared).clamp(min=1e-8)
    return iou.masked_fill(~targets.real.unsqueeze(2), -1)


def assign(iou: Tensor, threshold: float) -> Tensor:
    """The event (R, P) long that each box stands for, −1 for none.

    It is the one that a box overlaps most, if the IoU reaches the threshold or if no other box
    overlaps some event more. An event that no box touches forces none.

    Args:
        iou: (R, E, P) of `overlaps`.
        threshold: of the IoU.
    """
    best, event = iou.max(1)
    of_event = iou.amax(2, keepdim=True)
    forced = ((iou == of_event) & (of_event > 0)).any(1)
    return torch.where((best >= threshold) | forced, event, -1)

"""What boxes and frames are trained by; the second stage trains the first one, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from loco.detection.losses import focal_loss
from loco.detectors.vsgn.anchors import assign, overlaps
from loco.detectors.vsgn.stitching import Layout, Targets
from loco.errors import check_number
from loco.nn.processes import shared


@dataclass(frozen=True)
class BoxLoss:
    """Classes, boxes before and after adjustment, and the three frame by frame.

    Args:
        classification: `softmax`, one class or background a box, positives and negatives of equal
            weight in sum; or `sigmoid`, every event that a box covers, focal.
        iou_threshold: from which a box stands for an event; anchors for regression, regressed boxes
            for classification.
        adjusted_threshold: the same of regressed boxes for the adjustment.
        class_weight, box_weight, frame_weight, adjusted_weight: factors on the losses.
        alpha, gamma: of the focal loss.
    """

    classification: Literal["softmax", "sigmoid"] = "softmax"
    iou_threshold: float = 0.5
    adjusted_threshold: float = 0.7
    class_weight: float = 1.0
    box_weight: float = 1.0
    frame_weight: float = 0.2
    adjusted_weight: float = 1.0
    alpha: float = 0.35
    gamma: float = 2.0

    def __post_init__(self) -> None:
        if self.classification not in ("softmax", "sigmoid"):
            raise ValueError(
                f"classification must be softmax or sigmoid, got {self.classification!r}"
            )
        for name in ("iou_threshold", "adjusted_threshold"):
            check_number(name, getattr(self, name), 0, 1, without="low")
        for name in ("class_weight", "box_weight", "frame_weight", "adjusted_weight", "gamma"):
            check_number(name, getattr(self, name), 0)
        check_number("alpha", self.alpha, 0, 1)

    def __call__(
        self, logits: Tensor, boxes: Tensor, adjusted: Tensor, frames: Tensor, anchors: Tensor,
        layout: Layout, targets: Targets, *, training: bool = False,
    ) -> dict[str, Tensor]:  # fmt: skip
        """Weighted losses, scalars: to be summed.

        Args:
            logits: (R, P, K + 1), background first, or (R, P, K).
            boxes, adjusted: (R, P, 2) in frames.
            frames: (R, 3, L) probabilities of action, start and end.
            anchors: (P, 2).
            layout: of the rows.
            targets: the events of the rows.
            training: whether processes step together, so that means are over the rows of all.
        """
        iou = overlaps(boxes.detach(), targets)
        action, start, end = (
            self.frame_weight * balanced_cross_entropy(said, true, training)
            for said, true in zip(frames.unbind(1), frame_targets(layout, targets), strict=True)
        )
        by_anchor = assign(overlaps(anchors, targets), self.iou_threshold)
        return {
            "loss_cls": self.class_weight * self.class_loss(logits, iou, targets, training),
            "loss_reg": self.box_weight * box_loss(boxes, by_anchor, targets, training),
            "loss_action": action,
            "loss_start": start,
            "loss_end": end,
            "loss_adjusted": self.adjusted_weight
            * box_loss(adjusted, assign(iou, self.adjusted_threshold), targets, training),
        }

    def class_loss(
        self, logits: Tensor, iou: Tensor, targets: Targets, training: bool = False
    ) -> Tensor:
        """Of boxes (R, P) with their IoU (R, E, P) with the events."""
        event = assign(iou, self.iou_threshold)
        positive = event >= 0
        label = targets.labels.gather(1, event.clamp(min=0))
        if self.classification == "softmax":
            loss = functional.cross_entropy(
                logits.transpose(1, 2), torch.where(positive, label + 1, 0), reduction="none"
            )
            return mean_where(loss, positive, training) + mean_where(loss, ~positive, training)
        covered = (iou >= self.iou_threshold).to(logits.dtype)
        named = functional.one_hot(targets.labels, logits.shape[2]).to(logits.dtype)
        wanted = (covered.mT @ named).clamp(max=1)
        own = functional.one_hot(label, logits.shape[2]) * positive.unsqueeze(2)
        focal = focal_loss(logits, wanted.maximum(own), self.alpha, self.gamma)
        return focal.sum() / shared(positive.sum(), training)


def mean_where(values: Tensor, chosen: Tensor, training: bool = False) -> Tensor:
    """The mean of the chosen ones, 0 if there are none."""
    return torch.where(chosen, values, 0).sum() / shared(chosen.sum(), training)


def box_loss(boxes: Tensor, event: Tensor, targets: Targets, training: bool = False) -> Tensor:
    """Mean of 1 − GIoU of boxes (R, P, 2) that stand for an event (R, P); 0 if none does."""
    positive = event >= 0
    row, place = positive.nonzero(as_tuple=True)
    loss = giou_loss(boxes[row, place], targets.boxes[row, event[row, place]])
    return loss.sum() / shared(positive.sum(), training)


def giou_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """1 − GIoU (N,) of intervals anywhere, (N, 2); those whose ends are exchanged are put right."""
    start, end = boxes.amin(1), boxes.amax(1)
    true_start, true_end = targets.unbind(1)
    shared = (end.minimum(true_end) - start.maximum(true_start)).clamp(min=0)
    union = (end - start) + (true_end - true_start) - shared + 1e-7
    hull = end.maximum(true_end) - start.minimum(true_start) + 1e-7
    return 1 - (shared / union - (hull - union) / hull)


def frame_targets(layout: Layout, targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
    """How far each frame shows an event, a start and an end: (R, L) each, in [0, 1].

    Frame j, from j to j + 1, shows a boundary as far as it lies within 1.5 frames of it. Boundaries
    off the video count as at its first or last frame.
    """
    first = torch.zeros_like(targets.boxes)
    last = first + (layout.length - 1)
    n = layout.frames.view(-1, 1, 1)
    on_the_left = targets.boxes[..., :1] < n
    last = torch.where(on_the_left, n - 1, last)
    first = torch.where(on_the_left, first, layout.right.view(-1, 1, 1))
    boxes = targets.boxes.maximum(first).minimum(last)
    frame = torch.arange(layout.length, device=boxes.device)
    start, end = (boundary.unsqueeze(2) for boundary in boxes.unbind(2))
    inside = (frame >= start.floor()) & (frame <= end)
    real = targets.real.unsqueeze(2)

    def share(boundary: Tensor) -> Tensor:
        reached = (boundary + 1.5).minimum(frame + 1) - (boundary - 1.5).maximum(frame)
        return torch.where(real, reached.clamp(min=0), 0).amax(1)

    return (inside & real).any(1).to(boxes.dtype), share(start), share(end)


def balanced_cross_entropy(probability: Tensor, target: Tensor, training: bool = False) -> Tensor:
    """Mean cross-entropy of all frames (R, L) of a batch, both kinds of equal weight in sum.

    A frame is positive where the target is over 0.5. Where all frames are of one kind, the plain
    mean.
    """
    positive = target > 0.5
    loss = -torch.where(positive, probability + 1e-5, 1 - probability + 1e-5).log()
    kinds = torch.stack([positive, ~positive])
    count = shared(kinds.sum((1, 2)), training, least=0)
    means = torch.where(kinds, loss, 0).sum((1, 2)) / count.clamp(min=1e-8)
    return means.sum() / (count > 0).sum()

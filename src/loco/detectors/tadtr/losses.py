"""What a set of predictions is trained by: each event said once, by the query matched with it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from loco.detection.losses import focal_loss
from loco.detectors.tadtr.matching import Matcher, Targets, interval_iou
from loco.errors import check_number
from loco.nn.processes import shared


@dataclass(frozen=True)
class SetLoss:
    """Focal, distance and IoU loss of all decoder layers; actionness of the last one.

    Args:
        class_weight, distance_weight, iou_weight, actionness_weight: factors on the losses.
        alpha, gamma: of the focal loss.
        matcher: pairs queries with events.
    """

    class_weight: float = 2.0
    distance_weight: float = 5.0
    iou_weight: float = 2.0
    actionness_weight: float = 4.0
    alpha: float = 0.25
    gamma: float = 2.0
    matcher: Matcher = field(default_factory=Matcher)

    def __post_init__(self) -> None:
        weights = ("class_weight", "distance_weight", "iou_weight", "actionness_weight")
        for name in (*weights, "gamma"):
            check_number(name, getattr(self, name), 0)
        check_number("alpha", self.alpha, 0, 1)

    def __call__(
        self, logits: Tensor, segments: Tensor, actionness: Tensor | None, targets: Targets,
        *, training: bool = False,
    ) -> dict[str, Tensor]:  # fmt: skip
        """Weighted losses, scalars: to be summed.

        Args:
            logits: (L, B, Q, K).
            segments: (L, B, Q, 2) centres and widths, as fractions of the real steps.
            actionness: (B, Q) of the last layer's segments; None if the net says none.
            targets: the events.
            training: whether processes step together, so that the losses are divided by the number
                of events in all of them.
        """
        count = shared(logits.new_tensor(float(len(targets.label))), training)
        focal, distance, iou = (loss / count for loss in self.by_layer(logits, segments, targets))
        losses = {
            "loss_cls": self.class_weight * focal.sum(),
            "loss_distance": self.distance_weight * distance.sum(),
            "loss_iou": self.iou_weight * iou.sum(),
        }
        if actionness is not None:
            wanted = best_iou(segments[-1].detach(), targets)
            error = (actionness - wanted).abs().mean()
            losses["loss_actionness"] = self.actionness_weight * error
        return losses

    def by_layer(
        self, logits: Tensor, segments: Tensor, targets: Targets
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Focal, distance and IoU loss, (L,) each: sums over the batch, without weights."""
        layer, query, event = self.matcher(logits, segments, targets)
        video, label = targets.video[event], targets.label[event]
        named = torch.zeros_like(logits)
        named[layer, video, query, label] = 1
        focal = focal_loss(logits, named, self.alpha, self.gamma).flatten(1).sum(1)
        said = segments[layer, video, query].unflatten(0, (len(logits), -1))
        true = targets.segments[event].unflatten(0, (len(logits), -1))
        distance = (said - true).abs().sum((1, 2))
        iou = (1 - interval_iou(said, true)).sum(1)
        return focal, distance, iou


def best_iou(segments: Tensor, targets: Targets) -> Tensor:
    """(B, Q): the largest IoU of a segment (B, Q, 2) with an event of its own video, 0 if none."""
    iou = interval_iou(segments[targets.video], targets.segments.unsqueeze(1))  # (N, Q)
    best = iou.new_zeros(segments.shape[:2])
    return best.scatter_reduce(0, targets.video.unsqueeze(1).expand_as(iou), iou, "amax")

"""Classification and regression losses of a point-based detector (LoCo Eq. 9, without LCC)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.detection.assignment import Positives, RangeAssigner
from loco.detection.outputs import PointOutputs
from loco.errors import check_number
from loco.nn.processes import processes, summed
from loco.structures import Batch


def focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sigmoid focal loss of each element, in logits' shape (Lin et al. 2017).

    Args:
        logits: any shape.
        targets: the same shape, 0 or 1.
        alpha: weight of positives, 1 − alpha that of negatives; below 0, none.
        gamma: how strongly easy elements are put aside.
    """
    probability = logits.sigmoid()
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    missed = probability + targets - 2 * probability * targets  # 1 − p of what is true
    loss = cross_entropy * missed**gamma
    if alpha >= 0:
        loss = loss * (alpha * targets + (1 - alpha) * (1 - targets))
    return loss


def smoothed(targets: Tensor, smoothing: float) -> Tensor:
    """Targets (…, K) of 0 and 1, drawn towards 1/(K + 1): each class's share."""
    return (1 - smoothing) * targets + smoothing / (targets.shape[-1] + 1)


def giou_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """1 − GIoU of intervals around a common point, given their offsets (…, 2) to start and end.

    Such intervals always meet, so nothing of their hull lies outside their union: GIoU = IoU.
    """
    overlap = torch.minimum(predicted, target).sum(-1)
    union = torch.maximum(predicted, target).sum(-1)
    return 1 - overlap / union.clamp(min=1e-8)


def diou_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """1 − DIoU: also pulls the centres together, by (their distance / the hull's length)²."""
    hull = torch.maximum(predicted, target).sum(-1).clamp(min=1e-8)
    shift = predicted - target
    centre_distance = (shift[..., 1] - shift[..., 0]) / 2
    return giou_loss(predicted, target) + (centre_distance / hull) ** 2


class DetectionLoss(nn.Module):
    """Focal loss over all real points, IoU loss over the positive ones, in a steady proportion.

    Both are sums, in training divided by a moving average of the number of positive points, as
    UnAV's code counts them: one that is positive for two classes is one. The average lives in a
    buffer, so that a resumed run goes on with it; it moves after such a call (a forward hook), so
    that `forward` itself changes nothing. Across processes the average number counts. Outside of
    training they are divided by the batch's own number, lest its size decide how large they are.

    Args:
        regression: `giou` (the paper) or `diou` (UnAV's code).
        regression_weight: factor on the regression loss.
        label_smoothing: ε, how far the classification's targets are drawn towards 1/(K + 1).
        quality_power: p; what a positive class costs is scaled by IoUᵖ of its predicted and its
            true segment, and the IoU learns from it as well (TriDet); 0 is off.
        alpha, gamma: of the focal loss.
        normalizer: where the moving average starts; about the positives of a first batch.
        momentum: of the moving average.

    Raises:
        ValueError: a setting out of its range.
    """

    normalizer: Tensor

    def __init__(
        self,
        *,
        regression: Literal["giou", "diou"] = "giou",
        regression_weight: float = 1.0,
        label_smoothing: float = 0.0,
        quality_power: float = 0.0,
        alpha: float = 0.25,
        gamma: float = 2.0,
        normalizer: float = 250.0,
        momentum: float = 0.9,
    ) -> None:
        super().__init__()
        losses = {"giou": giou_loss, "diou": diou_loss}
        if regression not in losses:
            raise ValueError(f"regression must be one of {sorted(losses)}, got {regression!r}")
        check_number("regression_weight", regression_weight, 0)
        check_number("label_smoothing", label_smoothing, 0, 1, without="high")
        check_number("quality_power", quality_power, 0)
        check_number("alpha", alpha, 0, 1)
        check_number("gamma", gamma, 0)
        check_number("normalizer", normalizer, 0, without="low")
        check_number("momentum", momentum, 0, 1, without="high")
        self.regression_loss = losses[regression]
        self.regression_weight = regression_weight
        self.label_smoothing = label_smoothing
        self.quality_power = quality_power
        self.alpha = alpha
        self.gamma = gamma
        self.momentum = momentum
        self.register_buffer("normalizer", torch.tensor(float(normalizer)))
        self.register_forward_hook(_keep_normalizer)

    def forward(
        self, logits: Tensor, offsets: Tensor, mask: Tensor, positives: Positives
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            logits: (B, P, K).
            offsets: (B, P, K, 2) predicted distances in strides; or (B, P, 2), common to the
                classes, where the assigner gives a point one target: that counts once.
            mask: (B, P), True at real points.
            positives: the points that stand for events; those outside the mask do not count.

        Returns:
            `loss_cls` and `loss_reg`, scalars, and `normalizer`, what both were divided by.
        """
        real = mask[positives.video, positives.point]
        video, point, label = (
            index[real] for index in (positives.video, positives.point, positives.label)
        )
        true = positives.offsets[real].to(offsets.dtype)
        predicted = offsets[video, point] if offsets.ndim == 3 else offsets[video, point, label]
        iou = 1 - giou_loss(predicted, true)
        classification = self.classification(logits, (video, point, label), iou)
        classification = torch.where(mask.unsqueeze(-1), classification, 0).sum()
        if offsets.ndim == 3:
            first = _first_of_each(video * mask.shape[1] + point)
            predicted, true = predicted[first], true[first]
        regression = self.regression_weight * self.regression_loss(predicted, true).sum()
        points = len(torch.unique(video * mask.shape[1] + point))
        normalizer = self.normalizer.new_tensor(float(points))
        if self.training:
            normalizer = self.normalizer.lerp(summed(normalizer).clamp(min=1), 1 - self.momentum)
        else:
            normalizer = normalizer.clamp(min=1)
        share = normalizer / _together(self)
        return {
            "loss_cls": classification / share,
            "loss_reg": regression / share,
            "normalizer": normalizer,
        }

    def classification(
        self, logits: Tensor, places: tuple[Tensor, Tensor, Tensor], iou: Tensor
    ) -> Tensor:
        """What each class of each point costs, (B, P, K); another loss overrides this.

        Args:
            logits: (B, P, K).
            places: video, point and label (M,) of the positives.
            iou: (M,) of the segments that the net gives them with their events.
        """
        targets = torch.zeros_like(logits)
        targets[places] = 1
        targets = smoothed(targets, self.label_smoothing)
        loss = focal_loss(logits, targets, self.alpha, self.gamma)
        if self.quality_power > 0:
            quality = torch.ones_like(loss)
            # an IoU of 0 has no finite slope
            quality[places] = iou.clamp(min=1e-8) ** self.quality_power
            loss = loss * quality
        return loss


def quality_loss(
    quality: Tensor, offsets: Tensor, mask: Tensor, positives: Positives, divisor: Tensor
) -> Tensor:
    """Cross-entropy of a rating (B, P) with the IoU that a segment has, at positive points.

    Args:
        quality: (B, P) logits.
        offsets: (B, P, K, 2) or (B, P, 2) predicted distances in strides; they learn nothing here.
        mask: (B, P).
        positives: the points that stand for events.
        divisor: what the sum is divided by.
    """
    real = mask[positives.video, positives.point]
    video, point, label = (x[real] for x in positives[:3])
    predicted = offsets[video, point] if offsets.ndim == 3 else offsets[video, point, label]
    iou = 1 - giou_loss(predicted.detach(), positives.offsets[real].to(offsets.dtype))
    loss = functional.binary_cross_entropy_with_logits(quality[video, point], iou, reduction="sum")
    return loss / divisor


def point_losses(
    outputs: PointOutputs,
    batch: Batch,
    assigner: RangeAssigner,
    criterion: nn.Module,
    num_classes: int,
) -> dict[str, Tensor]:
    """What a criterion such as `DetectionLoss` says of outputs, in float32, given a batch's events.

    Args:
        outputs: of the batch.
        batch: whose events are assigned to the outputs' points.
        assigner: which points answer for which events.
        criterion: takes logits, offsets, mask and positives.
        num_classes: K.

    Raises:
        ValueError: boundaries common to all classes, of an assigner that gives a point several.
    """
    assigner.check_head(class_aware=outputs.offsets.ndim == 4)
    candidates = assigner(outputs.points, batch.events, batch.grid, num_classes)
    positives = assigner.choose(candidates, outputs)
    losses: dict[str, Tensor] = criterion(
        outputs.logits.float(), outputs.offsets.float(), outputs.mask, positives
    )
    if outputs.quality is not None:
        losses["loss_quality"] = quality_loss(
            outputs.quality.float(), outputs.offsets.float(), outputs.mask, positives,
            losses["normalizer"] / _together(criterion),
        )  # fmt: skip
    return losses


def _together(criterion: nn.Module) -> int:
    """The processes that a normalizer counts the positives of: all in training, else this one."""
    return processes() if criterion.training else 1


def _first_of_each(number: Tensor) -> Tensor:
    """Where a value of sorted numbers (M,) stands for the first time, (M,) bool."""
    first = torch.ones_like(number, dtype=torch.bool)
    first[1:] = number[1:] != number[:-1]
    return first


@torch.no_grad()
def _keep_normalizer(
    criterion: nn.Module, arguments: tuple[object, ...], losses: dict[str, Tensor]
) -> None:
    """Go on from the moving average that a call ended with."""
    if criterion.training:
        criterion.get_buffer("normalizer").copy_(losses["normalizer"])

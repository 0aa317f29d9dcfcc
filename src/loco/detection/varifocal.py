"""Varifocal loss: a class's score is to say how well the segment fits, too."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from loco.detection.losses import DetectionLoss


class VarifocalLoss(DetectionLoss):
    """A `DetectionLoss` whose positive targets are the IoU q of segment and event, instead of 1.

        q > 0:  q · BCE(p, q)        q = 0:  α · p^γ · BCE(p, 0)

    Args:
        regression: `giou` or `diou`.
        regression_weight: factor on the regression loss.
        alpha, gamma: of the negatives.
        normalizer: where the moving average starts.
        momentum: of the moving average.

    Source: Zhang et al. 2021, VarifocalNet.
    """

    def __init__(
        self,
        *,
        regression: Literal["giou", "diou"] = "giou",
        regression_weight: float = 1.0,
        alpha: float = 0.75,
        gamma: float = 2.0,
        normalizer: float = 250.0,
        momentum: float = 0.9,
    ) -> None:
        super().__init__(
            regression=regression, regression_weight=regression_weight, alpha=alpha, gamma=gamma,
            normalizer=normalizer, momentum=momentum,
        )  # fmt: skip

    def classification(
        self, logits: Tensor, places: tuple[Tensor, Tensor, Tensor], iou: Tensor
    ) -> Tensor:
        """What each class of each point costs, (B, P, K)."""
        targets = torch.zeros_like(logits)
        targets[places] = iou.detach().to(logits.dtype)
        entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        negative = self.alpha * logits.sigmoid() ** self.gamma
        return entropy * torch.where(targets > 0, targets, negative)

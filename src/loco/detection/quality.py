"""A head that also rates its own segments: how well will this one fit?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from loco.detection.heads import ConvHead, HeadFactory, PointHead, is_class_aware
from loco.detection.outputs import HeadOutputs


class QualityHead(nn.Module):
    """Another head, and the IoU that each point's segment will have with its event.

    The rating learns at positive points (`loco.detection.losses.quality_loss`); `Decoding`
    multiplies scores by it.

    Args:
        dim: channels D of a level.
        num_classes: K.
        num_levels: pyramid levels.
        head: makes the head that says classes and boundaries.
        hidden: channels between the rating's convolutions; None is `dim`.

    Source: after the IoU branch of IoU-Net (Jiang et al. 2018) and FCOS' centerness.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        num_levels: int,
        head: HeadFactory = PointHead,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        self.head = head(dim, num_classes, num_levels=num_levels)
        self.class_aware = is_class_aware(self.head)
        self.rating = ConvHead(dim, 1, 2, hidden=hidden)

    def forward(self, levels: list[tuple[Tensor, Tensor]]) -> HeadOutputs:
        """Levels of (B, T_l, D) and mask (B, T_l), P = ΣT_l points in all."""
        quality = torch.cat([self.rating(x, mask).squeeze(2) for x, mask in levels], 1)
        logits, offsets, mask = self.head(levels)[:3]
        return HeadOutputs(logits, offsets, mask, quality)

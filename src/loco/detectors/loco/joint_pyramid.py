"""A pyramid in which sight and sound meet once, and go up as one stream."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from loco.detectors.tridet.sgp import SGPBlock
from loco.errors import MAX_LAYERS, check_number
from loco.nn.attention import AttentionFactory
from loco.nn.blocks import BlockFactory
from loco.nn.pyramid import CrossModalPyramid, FeaturePyramid


class JointPyramid(nn.Module):
    """Each stream looks at the other one at full resolution; both side by side go through TriDet's.

    Args:
        block: makes the cross-modal blocks, of width D; its `asks` says which stream is the query.
        num_levels: levels of strides 1, 2, 4, …
        attention: makes the attention of the cross-modal blocks.
        stem_blocks: SGP blocks of the joint stream of 2D channels before the first level.
        feed_forward: width of the SGP blocks' feed-forward parts; None is 1.5 · 2D.
        kernel, k: of the SGP blocks after the stem.
    """

    def __init__(
        self,
        block: BlockFactory,
        *,
        num_levels: int,
        attention: AttentionFactory,
        stem_blocks: int = 2,
        feed_forward: int | None = None,
        kernel: int = 3,
        k: float = 1.5,
        mixing: AttentionFactory | None = None,
    ) -> None:
        super().__init__()
        check_number("stem_blocks", stem_blocks, 0, MAX_LAYERS, whole=True)
        dim = 2 * block.dim
        hidden = 3 * block.dim if feed_forward is None else feed_forward
        self.meeting = CrossModalPyramid(block, num_levels=1, attention=attention)
        self.stem = nn.ModuleList(
            SGPBlock(dim=dim, hidden=hidden, kernel=1, k=k) for _ in range(stem_blocks)
        )
        self.pyramid = FeaturePyramid(
            (
                SGPBlock(
                    dim=dim, hidden=hidden, kernel=kernel, k=k, stride=2,
                    drop_path=block.drop_path, layer_scale=block.layer_scale,
                )
                for _ in range(num_levels - 1)
            ),
            dim,
            neck=False,
        )  # fmt: skip

    @property
    def strides(self) -> tuple[int, ...]:
        """Steps between two points of each level."""
        return self.pyramid.strides

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Both streams (B, T, D), mask (B, T) → each level's features (B, T_l, 2D) and mask."""
        ((x, mask),) = self.meeting(visual, audio, mask)
        x = torch.where(mask.unsqueeze(-1), x, x.new_zeros(()))
        for block in self.stem:
            x = block(x, mask)
        return self.pyramid(x, mask)

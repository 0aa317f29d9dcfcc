"""The multimodal decoder: fuse a level's streams, then say what happens at each point and where."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.detection.heads import ConvHead, start_from_prior
from loco.errors import check_number
from loco.nn.blocks import BlockFactory
from loco.nn.layers import linear


class Decoder(nn.Module):
    """Shared by all levels: linear 2D → D, transformer blocks, classification and regression.

    Args:
        block: makes the transformer blocks, of width D; a level comes in with 2D channels.
        num_blocks: transformer blocks.
        num_levels: pyramid levels, each with a scale of its own for the offsets.
        num_classes: K.
        prior: probability that an untrained model gives every class.
    """

    def __init__(
        self,
        block: BlockFactory,
        *,
        num_blocks: int,
        num_levels: int,
        num_classes: int,
        prior: float = 0.01,
    ) -> None:
        super().__init__()
        check_number("decoder_blocks", num_blocks, 0, whole=True)
        for name, value in {"num_levels": num_levels, "num_classes": num_classes}.items():
            check_number(name, value, 1, whole=True)
        check_number("prior", prior, 0, 1, without="low high")
        dim = block.dim
        self.fuse = linear(2 * dim, dim)
        self.blocks = nn.ModuleList(block() for _ in range(num_blocks))
        self.norm = nn.LayerNorm(dim)
        self.classify = ConvHead(dim, num_classes)
        self.regress = ConvHead(dim, 2 * num_classes)
        self.scales = nn.Parameter(torch.ones(num_levels))
        start_from_prior(self.classify, prior)

    def forward(self, levels: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        """Levels of (B, T_l, 2D) and mask (B, T_l), P = ΣT_l points in all.

        Returns:
            logits (B, P, K); offsets (B, P, K, 2), distances to start and end in strides, ≥ 0;
            mask (B, P). What stands at points outside the mask has no meaning.
        """
        logits, offsets = [], []
        for (x, mask), scale in zip(levels, self.scales, strict=True):
            x = self.fuse(x)
            for block in self.blocks:
                x = block(x, mask)
            x = self.norm(x)
            logits.append(self.classify(x, mask))
            distances = functional.relu(self.regress(x, mask) * scale)
            offsets.append(distances.unflatten(2, (-1, 2)))
        return torch.cat(logits, 1), torch.cat(offsets, 1), torch.cat([m for _, m in levels], 1)

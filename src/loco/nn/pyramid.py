"""The cross-modal pyramid: each level halves time and lets the modalities look at each other."""

from __future__ import annotations

import operator
from itertools import accumulate

import torch
from torch import Tensor, nn

from loco.nn.attention import AttentionFactory
from loco.nn.blocks import BlockFactory
from loco.nn.layers import downsample_mask


class CrossModalPyramid(nn.Module):
    """Levels of strides 1, 2, 4, …; a level's output is both streams' side by side.

    A level has a block for each stream, whose context is the other stream at the level before.

    Args:
        block: makes the blocks, of width D; its `asks` says which of the two is the query.
        num_levels: levels; the first keeps the resolution, each later one halves it.
        attention: makes each block's attention strategy.
    """

    def __init__(
        self, block: BlockFactory, *, num_levels: int, attention: AttentionFactory
    ) -> None:
        super().__init__()
        self.steps = [1, *[2] * (num_levels - 1)]
        """By how much each level downsamples the one before."""

        def direction() -> nn.ModuleList:
            return nn.ModuleList(
                block(stride=step, attention=attention, context=True) for step in self.steps
            )

        self.visual_blocks = direction()
        self.audio_blocks = direction()

    @property
    def strides(self) -> tuple[int, ...]:
        """Steps between two points of each level."""
        return tuple(accumulate(self.steps, operator.mul))

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Both streams (B, T, D), mask (B, T) → each level's features (B, T_l, 2D) and mask."""
        levels = []
        directions = zip(self.steps, self.visual_blocks, self.audio_blocks, strict=True)
        for step, sees, hears in directions:
            visual, audio = sees(visual, mask, audio), hears(audio, mask, visual)
            mask = downsample_mask(mask, step)
            levels.append((torch.cat([visual, audio], dim=-1), mask))
        return levels

"""Pyramids: the same video at ever coarser steps.

FeaturePyramid      of one stream
CrossModalPyramid   of sight and sound, which look at each other at each level
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
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


class FeaturePyramid(nn.Module):
    """Levels of strides 1, 2, 4, …: the stream itself, then a block for each halving of time.

    Args:
        blocks: one a level after the first, each maps (x, mask) and has a stride of 2.
        dim: width D.
        neck: whether a LayerNorm of its own ends each level.
    """

    def __init__(self, blocks: Iterable[nn.Module], dim: int, *, neck: bool = True) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        levels = len(self.blocks) + 1
        self.norms = nn.ModuleList(
            nn.LayerNorm(dim) if neck else nn.Identity() for _ in range(levels)
        )

    @property
    def strides(self) -> tuple[int, ...]:
        """Steps between two points of each level."""
        return tuple(2**level for level in range(len(self.norms)))

    def forward(self, x: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The stream (B, T, D), mask (B, T) → each level's features (B, T_l, D) and its mask."""
        levels = [(x, mask)]
        for block in self.blocks:
            x, mask = block(x, mask), downsample_mask(mask, 2)
            levels.append((x, mask))
        return [(norm(x), mask) for norm, (x, mask) in zip(self.norms, levels, strict=True)]

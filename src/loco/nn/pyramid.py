"""Pyramids: the same video at ever coarser steps.

FeaturePyramid      of one stream
CrossModalPyramid   of sight and sound, which look at each other at each level
JointPyramid        of sight and sound, which look at each other once, and go up as one stream
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from itertools import accumulate

import torch
from torch import Tensor, nn

from loco.errors import MAX_LAYERS, check_number
from loco.nn.attention import AttentionFactory
from loco.nn.blocks import BlockFactory
from loco.nn.layers import downsample_mask
from loco.nn.sgp import SGPBlock


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


class JointPyramid(nn.Module):
    """Each stream looks at the other one at full resolution; then both go up side by side.

    A cross-modal block for each stream; SGP blocks, which have no attention, of the two streams as
    one of 2D channels; and an SGP block for each halving of time.

    Args:
        block: makes the cross-modal blocks, of width D; its `asks` says which of the two is the
            query.
        num_levels: levels of strides 1, 2, 4, …
        attention: makes the cross-modal blocks' attention strategy.
        stem_blocks: SGP blocks before the first level, which relate no steps (w = 1) but by their
            wider window and the mean over time.
        feed_forward: width of the SGP blocks' feed-forward parts; None is 3D.
        kernel: w of the SGP blocks after the stem.
        k: how much wider the second window of every SGP block is.
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
    ) -> None:
        super().__init__()
        check_number("stem_blocks", stem_blocks, 0, MAX_LAYERS, whole=True)
        dim = 2 * block.dim
        hidden = 3 * block.dim if feed_forward is None else feed_forward
        self.meeting = CrossModalPyramid(block, num_levels=1, attention=attention)
        self.stem = nn.ModuleList(
            SGPBlock(dim=dim, hidden=hidden, kernel=1, k=k) for _ in range(stem_blocks)
        )
        halvings = (
            SGPBlock(
                dim=dim, hidden=hidden, kernel=kernel, k=k, stride=2,
                drop_path=block.drop_path, layer_scale=block.layer_scale,
            )
            for _ in range(num_levels - 1)
        )  # fmt: skip
        self.pyramid = FeaturePyramid(halvings, dim, neck=False)

    @property
    def visual_blocks(self) -> nn.ModuleList:
        """The one cross-modal block of sight, as a `CrossModalPyramid` has one a level."""
        return self.meeting.visual_blocks

    @property
    def audio_blocks(self) -> nn.ModuleList:
        """The one cross-modal block of sound."""
        return self.meeting.audio_blocks

    @property
    def strides(self) -> tuple[int, ...]:
        """Steps between two points of each level."""
        return self.pyramid.strides

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Both streams (B, T, D), mask (B, T) → each level's features (B, T_l, 2D) and mask."""
        ((x, mask),) = self.meeting(visual, audio, mask)
        for block in self.stem:
            x = block(x, mask)
        levels: list[tuple[Tensor, Tensor]] = self.pyramid(x, mask)
        return levels

"""The cross-modal pyramid: each level halves time and lets the modalities look at each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from loco.nn.attention import AttentionFactory, NoAttention
from loco.nn.layers import FeedForward, ScaledDropPath, downsample_mask, masked_max_pool


class CrossModalBlock(nn.Module):
    """One direction of one level: downsample, attend to the other modality, feed forward."""

    def __init__(
        self,
        *,
        dim: int,
        heads: int,
        stride: int,
        attention: AttentionFactory,
        drop_path: float,
        layer_scale: float,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.attention = attention(dim=dim, heads=heads, stride=stride)
        attends = not isinstance(self.attention, NoAttention)
        self.norm = nn.LayerNorm(dim) if attends else nn.Identity()
        self.context_norm = nn.LayerNorm(dim) if attends else nn.Identity()
        self.drop_path = ScaledDropPath(dim, drop_path, layer_scale) if attends else nn.Identity()
        self.feed_forward = FeedForward(dim, drop_path=drop_path, layer_scale=layer_scale)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D), the other modality (B, T, D), mask (B, T) → (B, ⌈T/stride⌉, D)."""
        skip = masked_max_pool(x, mask, self.stride)
        attended = self.attention(self.norm(x), self.context_norm(context), mask)
        x = skip + self.drop_path(attended)
        return self.feed_forward(x, downsample_mask(mask, self.stride))


class CrossModalPyramid(nn.Module):
    """Levels of strides 1, 2, 4, …; a level's output is both directions' features side by side.

    Args:
        dim: width D of a modality.
        heads: attention heads H.
        num_levels: levels; the first keeps the resolution, each later one halves it.
        attention: makes each block's attention strategy.
        drop_path: probability that a video skips a residual branch in training.
        layer_scale: what the residual branches' channel scales start from.
    """

    def __init__(
        self,
        *,
        dim: int,
        heads: int,
        num_levels: int,
        attention: AttentionFactory,
        drop_path: float,
        layer_scale: float,
    ) -> None:
        super().__init__()

        def block(level: int) -> CrossModalBlock:
            return CrossModalBlock(
                dim=dim,
                heads=heads,
                stride=1 if level == 0 else 2,
                attention=attention,
                drop_path=drop_path,
                layer_scale=layer_scale,
            )

        self.visual_blocks = nn.ModuleList(block(level) for level in range(num_levels))
        self.audio_blocks = nn.ModuleList(block(level) for level in range(num_levels))

    @property
    def strides(self) -> tuple[int, ...]:
        """Steps between two points of each level."""
        return tuple(2**level for level in range(len(self.visual_blocks)))

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Both streams (B, T, D), mask (B, T) → each level's features (B, T_l, 2D) and mask."""
        levels = []
        stride = 1
        for visual_block, audio_block in zip(self.visual_blocks, self.audio_blocks, strict=True):
            visual, audio = visual_block(visual, audio, mask), audio_block(audio, visual, mask)
            mask = downsample_mask(mask, stride)
            levels.append((torch.cat([visual, audio], dim=-1), mask))
            stride = 2
        return levels

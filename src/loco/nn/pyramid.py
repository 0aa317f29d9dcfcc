"""The pyramid of one stream: the same video at ever coarser steps."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from loco.nn.layers import downsample_mask


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

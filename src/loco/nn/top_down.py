"""From the coarse levels of a pyramid back to the fine ones: what a whole event is, at its ends."""

from __future__ import annotations

from torch import Tensor, nn

from loco.errors import MAX_LEVELS, check_number
from loco.nn.layers import linear


class TopDownFusion(nn.Module):
    """Adds to each level what the next coarser one says, the coarsest one first.

        x_l ← x_l + W_l · LN(up(x_{l+1}))

    where a coarse step stands for the fine ones from its place on.

    Args:
        dim: channels D of every level.
        num_levels: levels, each of twice the stride of the one before.

    Source: Lin et al. 2017, feature pyramid networks.
    """

    def __init__(self, dim: int, *, num_levels: int) -> None:
        super().__init__()
        check_number("num_levels", num_levels, 1, MAX_LEVELS, whole=True)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(num_levels - 1))
        self.layers = nn.ModuleList(linear(dim, dim) for _ in range(num_levels - 1))

    def forward(self, levels: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        """Levels of (B, T_l, D) and mask (B, T_l) → the same shapes."""
        coarse, mask = levels[-1]
        fused = [(coarse, mask)]
        steps = zip(levels[-2::-1], reversed(self.norms), reversed(self.layers), strict=True)
        for (x, mask), norm, layer in steps:
            up = layer(norm(coarse)).repeat_interleave(2, dim=1)[:, : x.shape[1]]
            coarse = x + up
            fused.append((coarse, mask))
        return fused[::-1]

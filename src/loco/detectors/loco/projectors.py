"""What LCC compares a stream by: ways from its D channels to the D/2 of the common space.

The paper's is a linear layer, `torch.nn.Linear`. These leave the stream more room of its own.
"""

from __future__ import annotations

from torch import Tensor, nn

from loco.nn.layers import linear


class DeepProjector(nn.Sequential):
    """LayerNorm and two layers with GELU between them: (…, D) → (…, D/2)."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.LayerNorm(dim), linear(dim, dim), nn.GELU(), linear(dim, dim // 2))


class HalfProjector(nn.Linear):
    """A linear layer that reads the first half of the channels: what LCC does not touch is free."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim // 2, dim // 2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[..., : self.in_features])

"""The encoder of one stream: what it says before it meets another, or goes up a pyramid."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from loco.errors import MAX_LAYERS, check_number
from loco.nn.attention import AttentionFactory, GlobalAttention
from loco.nn.blocks import BlockFactory
from loco.nn.layers import MaskedConv1d, sinusoid_positions, zero_padding


class StreamEmbedding(nn.Module):
    """Masked convolutions embed one stream.

    Args:
        in_channels: feature channels C of the stream.
        dim: width D.
        num_convs: convolutions (kernel 3, LayerNorm, ReLU).
        positions: whether sinusoids of the absolute step are added after them.
    """

    def __init__(
        self, in_channels: int, dim: int, *, num_convs: int, positions: bool = True
    ) -> None:
        super().__init__()
        check_number("num_convs", num_convs, int(in_channels != dim), MAX_LAYERS, whole=True)
        self.convs = nn.ModuleList(
            MaskedConv1d(in_channels if i == 0 else dim, dim, bias=False) for i in range(num_convs)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(num_convs))
        self.positions = positions

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, C) → (B, T, D); what stands in padding has no meaning."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = functional.relu(norm(conv(x, mask)))
        if self.positions:
            x = x + sinusoid_positions(x.shape[1], x.shape[2], like=x)
        return x


class UnimodalEncoder(StreamEmbedding):
    """An embedded stream whose steps transformer blocks relate to one another.

    Args:
        in_channels: feature channels C of the stream.
        block: makes the transformer blocks, of width D.
        num_convs, positions: of the embedding.
        num_blocks: transformer blocks; 0 leaves the embedding alone.
        attention: which steps of its own a query of the blocks sees.
    """

    def __init__(
        self,
        in_channels: int,
        block: BlockFactory,
        *,
        num_convs: int,
        num_blocks: int,
        positions: bool = True,
        attention: AttentionFactory = GlobalAttention,
    ) -> None:
        super().__init__(in_channels, block.dim, num_convs=num_convs, positions=positions)
        check_number("encoder_blocks", num_blocks, 0, MAX_LAYERS, whole=True)
        self.blocks = nn.ModuleList(block(attention=attention) for _ in range(num_blocks))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, C) → (B, T, D), 0 in padding."""
        x = super().forward(x, mask)
        for block in self.blocks:
            x = block(x, mask)
        return zero_padding(x, mask)

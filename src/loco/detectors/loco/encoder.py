"""The unimodal encoders: what each modality says before they meet."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from loco.nn.attention import GlobalAttention
from loco.nn.layers import (
    FeedForward,
    MaskedConv1d,
    ScaledDropPath,
    sinusoid_positions,
    zero_padding,
)


class TransformerBlock(nn.Module):
    """Pre-norm self-attention over all real steps, then a feed-forward part."""

    def __init__(self, *, dim: int, heads: int, drop_path: float, layer_scale: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = GlobalAttention(dim=dim, heads=heads)
        self.drop_path = ScaledDropPath(dim, drop_path, layer_scale)
        self.feed_forward = FeedForward(dim, drop_path=drop_path, layer_scale=layer_scale)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        normed = self.norm(x)
        x = x + self.drop_path(self.attention(normed, normed, mask))
        return self.feed_forward(x, mask)


class UnimodalEncoder(nn.Module):
    """Masked convolutions embed one modality, transformer blocks relate its steps.

    Args:
        in_channels: feature channels C of the modality.
        dim: width D.
        heads: attention heads H.
        num_convs: embedding convolutions (kernel 3, LayerNorm, ReLU).
        num_blocks: transformer blocks.
        drop_path: probability that a video skips a residual branch in training.
        layer_scale: what the residual branches' channel scales start from.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        dim: int,
        heads: int,
        num_convs: int,
        num_blocks: int,
        drop_path: float,
        layer_scale: float,
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            MaskedConv1d(in_channels if i == 0 else dim, dim, bias=False) for i in range(num_convs)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(num_convs))
        self.blocks = nn.ModuleList(
            TransformerBlock(dim=dim, heads=heads, drop_path=drop_path, layer_scale=layer_scale)
            for _ in range(num_blocks)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, C) → (B, T, D)."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = functional.relu(norm(conv(x, mask)))
        x = zero_padding(x + sinusoid_positions(x.shape[1], x.shape[2], like=x), mask)
        for block in self.blocks:
            x = block(x, mask)
        return x

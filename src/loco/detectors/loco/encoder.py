"""The unimodal encoders: what each modality says before they meet."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from loco.nn.blocks import BlockFactory
from loco.nn.layers import MaskedConv1d, sinusoid_positions, zero_padding


class UnimodalEncoder(nn.Module):
    """Masked convolutions embed one modality, transformer blocks relate its steps.

    Args:
        in_channels: feature channels C of the modality.
        block: makes the transformer blocks, of width D.
        num_convs: embedding convolutions (kernel 3, LayerNorm, ReLU).
        num_blocks: transformer blocks.
    """

    def __init__(
        self, in_channels: int, block: BlockFactory, *, num_convs: int, num_blocks: int
    ) -> None:
        super().__init__()
        dim = block.dim
        self.convs = nn.ModuleList(
            MaskedConv1d(in_channels if i == 0 else dim, dim, bias=False) for i in range(num_convs)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(num_convs))
        self.blocks = nn.ModuleList(block() for _ in range(num_blocks))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, C) → (B, T, D), 0 in padding."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = functional.relu(norm(conv(x, mask)))
        x = x + sinusoid_positions(x.shape[1], x.shape[2], like=x)
        for block in self.blocks:
            x = block(x, mask)
        return zero_padding(x, mask)

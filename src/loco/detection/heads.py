"""What a detector says of each point: heads that all levels of a pyramid share."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from loco.errors import check_number
from loco.nn.layers import MaskedConv1d, full_precision


class ConvHead(nn.Module):
    """Convolutions of kernel 3 with LayerNorm and ReLU between them: (B, T, C_in) → (B, T, out).

    The last one leaves autocast, since logits and distances are read in float32: bfloat16 would
    round the end of a minute's event by a quarter of a second.

    Args:
        dim: channels that come in.
        out_channels: channels that go out.
        num_convs: convolutions, the last one included.
        hidden: channels between them; None is `dim`.
    """

    def __init__(
        self, dim: int, out_channels: int, num_convs: int = 3, *, hidden: int | None = None
    ) -> None:
        super().__init__()
        check_number("num_convs", num_convs, 1, whole=True)
        width = dim if hidden is None else hidden
        channels = [dim, *[width] * (num_convs - 1)]
        self.convs = nn.ModuleList(
            MaskedConv1d(before, after, bias=False) for before, after in pairwise(channels)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(num_convs - 1))
        self.last = MaskedConv1d(channels[-1], out_channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = functional.relu(norm(conv(x, mask)))
        with full_precision(x):
            return self.last(x.to(self.last.weight.dtype), mask)


def start_from_prior(head: ConvHead, prior: float = 0.01) -> None:
    """Let an untrained classification head give every class this probability (Lin et al. 2017)."""
    assert head.last.bias is not None
    nn.init.constant_(head.last.bias, -math.log((1 - prior) / prior))

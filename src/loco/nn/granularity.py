"""Granularity: depthwise convolutions of three grains, gated, in place of attention (TriDet's SGP)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.errors import check_number
from loco.nn.layers import MaskedConv1d, zero_padding


class Granularity(nn.Module):
    """What the steps around a step, and all of them together, have to say of it; with h normed:

        instant = fc(h) · ReLU(global(mean_t h))
        window  = (conv_w(h) + conv_u(h)) · ψ(h)

    and their sum. All five are depthwise convolutions, and each product starts with both factors
    at `init_std`'s size. It can stand wherever an attention of a stream to itself does.

    Args:
        dim: width D.
        heads: of an attention in this place; there are none.
        stride: downsampling of what comes out.
        kernel: w, odd, of the window and of ψ.
        k: how much wider the second window is: u = (w + 1)·k, rounded, and made odd.
        init_std: deviation that the weights of the five convolutions start with.

    Raises:
        ValueError: a setting out of its range.

    Source: Shi et al. 2023, TriDet, section 3.2.
    """

    attends = True

    def __init__(
        self,
        *,
        dim: int,
        heads: int = 1,
        stride: int = 1,
        kernel: int = 3,
        k: float = 1.5,
        init_std: float = 0.2,
    ) -> None:
        super().__init__()
        check_number("dim", dim, 1, whole=True)
        check_number("kernel", kernel, 1, whole=True)
        check_number("k", k, 0, without="low")
        check_number("init_std", init_std, 0)
        self.stride = stride
        wide = round((kernel + 1) * k)
        wide += 1 - wide % 2
        self.gate, self.window, self.wide_window, self.instant, self.instant_gate = (
            Depthwise(dim, size, init_std) for size in (kernel, kernel, wide, 1, 1)
        )

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) and mask (B, T) → (B, ⌈T/stride⌉, D), 0 in padding; a context is not read."""
        return zero_padding(self.mix(zero_padding(x, mask), mask), mask)[:, :: self.stride]

    def mix(self, h: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D), 0 in padding → (B, T, D); what stands in padding then has no meaning."""
        everywhere = torch.ones_like(mask[:, :1])
        mean = h.sum(1, keepdim=True) / mask.sum(1).clamp(min=1)[:, None, None]
        instant = self.instant(h, mask) * functional.relu(self.instant_gate(mean, everywhere))
        window = (self.window(h, mask) + self.wide_window(h, mask)) * self.gate(h, mask)
        return instant + window


class Depthwise(MaskedConv1d):
    """A depthwise convolution; that of a single step is a product, tens of times as fast on a CPU.

    Args:
        dim: channels D.
        kernel: steps, odd.
        init_std: deviation that its weights start with.
    """

    def __init__(self, dim: int, kernel: int, init_std: float) -> None:
        super().__init__(dim, dim, kernel=kernel, groups=dim)
        nn.init.normal_(self.weight, std=init_std)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        if self.kernel_size == (1,):
            assert self.bias is not None
            return zero_padding(x, mask) * self.weight[:, 0, 0] + self.bias
        return super().forward(x, mask)

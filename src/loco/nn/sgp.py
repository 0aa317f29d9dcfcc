"""SGP, the scalable-granularity block: depthwise convolutions at three grains, no attention."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.errors import check_number
from loco.nn.layers import (
    FeedForward,
    MaskedConv1d,
    MaskedGroupNorm,
    ScaledDropPath,
    downsample_mask,
    masked_max_pool,
    zero_padding,
)

GROUPS = 16


class SGPBlock(nn.Module):
    """Three grains of one stream, then feed forward; with h = LN(pool(x)):

        instant = fc(h) · ReLU(global(mean_t h))
        window  = (conv_w(h) + conv_u(h)) · ψ(h)
        y       = pool(x) + s₁ · (instant + window + h)
        out     = y + s₂ · FFN(GroupNorm(y))

    All five are depthwise convolutions. Each product starts with both factors at `init_std`'s
    size; at 0, the published setting for THUMOS and EPIC-Kitchens, either factor's gradient is
    the other one's 0, so that all five stay 0 for ever, and h alone, a norm, is left of the block:
    the net is a pyramid of feed-forward layers then.

    Args:
        dim: width D, a multiple of 16.
        hidden: width of the feed-forward part.
        kernel: w, odd, of the window and of ψ.
        k: how much wider the second window is: u = (w + 1)·k, rounded, and made odd.
        stride: downsampling of time, before all else.
        pool: `max` of 3 steps, or `average` of 2 and a linear layer.
        init_std: deviation that the weights of the five convolutions start with.
        drop_path: probability that a video skips a residual branch in training.
        layer_scale: what the branches' channel factors s start from; None leaves factors and drop
            path out, as in the blocks before the pyramid.

    Raises:
        ValueError: a setting out of its range.

    Source: Shi et al. 2023, TriDet, section 3.2, with the `+ h` and the GroupNorm of its code.
    """

    def __init__(
        self,
        *,
        dim: int,
        hidden: int,
        kernel: int = 3,
        k: float = 1.5,
        stride: int = 1,
        pool: Literal["max", "average"] = "max",
        init_std: float = 0.2,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        check_number("dim", dim, 1, whole=True)
        if dim % GROUPS:
            raise ValueError(f"dim must be a multiple of {GROUPS}, got {dim}")
        check_number("kernel", kernel, 1, whole=True)
        check_number("k", k, 0, without="low")
        check_number("init_std", init_std, 0)
        if pool not in ("max", "average"):
            raise ValueError(f"pool must be max or average, got {pool!r}")
        self.stride = stride
        wide = round((kernel + 1) * k)
        wide += 1 - wide % 2
        self.pool = MaskedConv1d(dim, dim, kernel=1) if pool == "average" and stride > 1 else None
        self.norm = nn.LayerNorm(dim)
        self.gate, self.window, self.wide_window, self.instant, self.instant_gate = (
            Depthwise(dim, size, init_std) for size in (kernel, kernel, wide, 1, 1)
        )
        self.feed_forward_norm = MaskedGroupNorm(GROUPS, dim)
        self.feed_forward = FeedForward(dim, hidden=hidden)
        self.scale, self.feed_forward_scale = (
            nn.Identity() if layer_scale is None else ScaledDropPath(dim, drop_path, layer_scale)
            for _ in range(2)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D), mask (B, T) → (B, ⌈T/stride⌉, D), 0 in padding."""
        x, mask = self.downsample(x, mask), downsample_mask(mask, self.stride)
        h = zero_padding(self.norm(x), mask)
        everywhere = torch.ones_like(mask[:, :1])
        mean = h.sum(1, keepdim=True) / mask.sum(1).clamp(min=1)[:, None, None]
        instant = self.instant(h, mask) * functional.relu(self.instant_gate(mean, everywhere))
        window = (self.window(h, mask) + self.wide_window(h, mask)) * self.gate(h, mask)
        y = zero_padding(x + self.scale(instant + window + h), mask)
        normed = self.feed_forward_norm(y, mask)
        return zero_padding(y + self.feed_forward_scale(self.feed_forward(normed)), mask)

    def downsample(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) → (B, ⌈T/stride⌉, D), of real steps alone; 0 in padding."""
        x = zero_padding(x, mask)
        if self.pool is None:
            return masked_max_pool(x, mask, self.stride)
        spare = -x.shape[1] % self.stride
        sums, counts = (
            functional.pad(of, (0, 0, 0, spare)).unflatten(1, (-1, self.stride)).sum(2)
            for of in (x, mask.unsqueeze(-1).to(x.dtype))
        )
        coarse = downsample_mask(mask, self.stride)
        return zero_padding(self.pool(sums / counts.clamp(min=1), coarse), coarse)


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

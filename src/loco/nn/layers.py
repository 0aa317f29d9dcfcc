"""Building blocks that never let padding reach a real step.

Features are (B, T, D) and come with a mask (B, T), True = real. One rule keeps padding out: **what
mixes steps reads real steps only** (convolutions, pooling and attention mask what they read), so
that whatever stands in padding (NaN too) never matters, and nobody has to clean up what he leaves
there. What works on each step alone (linear layers, norms, activations) needs no mask. Masking
selects with `where`, since 0 · NaN would still be NaN.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.errors import check_number


def zero_padding(x: Tensor, mask: Tensor) -> Tensor:
    """Features (B, T, D) with 0 wherever the mask (B, T) is False, whatever stood there."""
    return torch.where(mask.unsqueeze(-1), x, 0)


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """A context without autocast on the device of a tensor, where float32 stays float32."""
    device = like.device.type
    if not torch.amp.is_autocast_available(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


# in float32, as UnAV's; once, as a number taken out of a tensor stops torch.compile
LOG_10000 = torch.log(torch.tensor(10000.0)).item()


def sinusoid_positions(num_steps: int, dim: int, like: Tensor) -> Tensor:
    """Sinusoids of the absolute step, (T, D), scaled by 1/√D as UnAV does.

    Computed for the T at hand, so that no length is the longest one.
    """
    step = torch.arange(num_steps, device=like.device, dtype=torch.float32).unsqueeze(1)
    channel = torch.arange(0, dim, 2, device=like.device, dtype=torch.float32)
    angle = step * torch.exp(channel * (-LOG_10000 / dim))
    positions = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :dim]
    return (positions / dim**0.5).to(like.dtype)


class MaskedConv1d(nn.Conv1d):
    """Convolution over time with an odd kernel, of (B, T, C_in) to (B, ⌈T/stride⌉, C_out).

    Reads 0 in padding; what it leaves there has no meaning.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1,
        groups: int = 1, bias: bool = True,
    ) -> None:  # fmt: skip
        for name, value in {
            "in_channels": in_channels, "out_channels": out_channels, "kernel": kernel,
            "stride": stride, "groups": groups,
        }.items():  # fmt: skip
            check_number(name, value, 1, whole=True)
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {kernel}")
        super().__init__(
            in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups,
            bias=bias,
        )  # fmt: skip
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(zero_padding(x, mask).transpose(1, 2)).transpose(1, 2)


def downsample_mask(mask: Tensor, stride: int) -> Tensor:
    """The mask of a coarser level: step j stands at fine step j·stride."""
    return mask[:, ::stride]


def masked_max_pool(x: Tensor, mask: Tensor, stride: int) -> Tensor:
    """Max over the real ones of the 3 steps around each `stride`-th step, (B, ⌈T/stride⌉, D).

    0 in padding, where there may be no real step to take the maximum of.
    """
    if stride == 1:
        return x
    lowest = torch.where(mask.unsqueeze(-1), x, x.new_tensor(float("-inf")))
    pooled = functional.max_pool1d(lowest.transpose(1, 2), 3, stride=stride, padding=1)
    return zero_padding(pooled.transpose(1, 2), downsample_mask(mask, stride))


def linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer whose bias starts at 0."""
    layer = nn.Linear(in_features, out_features)
    nn.init.zeros_(layer.bias)
    return layer


class MaskedGroupNorm(nn.GroupNorm):
    """GroupNorm of (B, T, D) over a group's channels and the real steps alone.

    Padding, whatever stands in it, moves no statistics; what is left there has no meaning.
    """

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        groups = zero_padding(x, mask).unflatten(2, (self.num_groups, -1))
        real = mask[:, :, None, None]
        count = mask.sum(1).clamp(min=1)[:, None, None, None] * groups.shape[3]
        mean = groups.sum((1, 3), keepdim=True) / count
        centred = torch.where(real, groups - mean, 0)
        variance = centred.square().sum((1, 3), keepdim=True) / count
        normed = (centred * (variance + self.eps).rsqrt()).flatten(2)
        return normed * self.weight + self.bias


class ScaledDropPath(nn.Module):
    """A learnable scale for each channel of a residual branch, which a sample may skip in training.

    Args:
        dim: channels D.
        rate: probability that a video skips the branch.
        scale: what the channel scales start from.
    """

    def __init__(self, dim: int, rate: float, scale: float) -> None:
        super().__init__()
        check_number("drop_path", rate, 0, 1, without="high")
        check_number("layer_scale", scale)
        self.rate = rate
        self.scale = nn.Parameter(torch.full((dim,), scale))

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.scale
        if self.training and self.rate > 0:
            keep = 1 - self.rate
            kept = torch.rand(len(x), 1, 1, device=x.device) < keep
            x = x * kept.to(x.dtype) / keep
        return x


class FeedForward(nn.Module):
    """Two linear layers with GELU between them, `expansion`·D or `hidden` wide."""

    def __init__(self, dim: int, *, expansion: int = 4, hidden: int | None = None) -> None:
        super().__init__()
        width = expansion * dim if hidden is None else hidden
        check_number("hidden", width, 1, whole=True)
        self.expand = linear(dim, width)
        self.contract = linear(width, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.contract(functional.gelu(self.expand(x)))

"""Attention between two streams, and the strategies that LoCo compares (paper section 3.4).

One module is one residual branch: queries from one stream, keys and values from the other (or from
the same one, in a self-attention). A strategy decides which steps a query sees:

    NoAttention                   nothing: the paper's "base"
    GlobalAttention               every real step: "base + GB"
    FixedWindowAttention          |j − t| ≤ ⌊w/2⌋: "Fixed"
    CrossModalDynamicPerception   windows that adapt to the context, Eq. 6–8: CDP

They share parameter names, so that weights of one load into another (CDP has its adaptation more).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.nn.layers import (
    MaskedConv1d,
    downsample_mask,
    full_precision,
    linear,
    zero_padding,
)


class AttentionFactory(Protocol):
    """Makes the attention of one level and direction; a strategy's class is one."""

    def __call__(self, *, dim: int, heads: int, stride: int) -> nn.Module: ...


class NoAttention(nn.Module):
    """No interaction: the branch adds 0; the block only downsamples, skips and feeds forward."""

    def __init__(self, *, dim: int, heads: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        return x.new_zeros(x.shape)[:, :: self.stride]


class Projection(nn.Module):
    """Depthwise convolution (which downsamples), LayerNorm, then the linear layer of Eq. 6."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.conv = MaskedConv1d(dim, dim, stride=stride, groups=dim, bias=False)
        self.norm = nn.LayerNorm(dim)
        self.linear = linear(dim, dim)

    def features(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) → (B, ⌈T/stride⌉, D), before the linear layer."""
        return self.norm(self.conv(x, mask))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.linear(self.features(x, mask))


class CrossModalAttention(nn.Module, ABC):
    """Multi-head attention of a stream to its context; subclasses choose what a query sees.

    Args:
        dim: width D of both streams.
        heads: number of heads H; D must be a multiple.
        stride: downsampling of queries, keys and values.
    """

    def __init__(self, *, dim: int, heads: int, stride: int = 1) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim must be a multiple of heads, got dim={dim}, heads={heads}")
        self.heads = heads
        self.stride = stride
        self.query = Projection(dim, stride)
        self.key = Projection(dim, stride)
        self.value = Projection(dim, stride)
        self.out = linear(dim, dim)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """From `x` to `context`, both (B, T, D) with one mask (B, T), to (B, ⌈T/stride⌉, D)."""
        coarse = downsample_mask(mask, self.stride)
        query = self.split_heads(self.query(x, mask))
        context_features = zero_padding(self.key.features(context, mask), coarse)
        key = self.split_heads(zero_padding(self.key.linear(context_features), coarse))
        value = self.split_heads(zero_padding(self.value(context, mask), coarse))
        attended = self.attend(query, key, value, context_features, coarse)
        return zero_padding(self.out(attended.transpose(1, 2).flatten(2)), coarse)

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, T, D) → (B, H, T, D/H)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    @abstractmethod
    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, context: Tensor, mask: Tensor
    ) -> Tensor:
        """What the queries gather: (B, H, T, D/H) each, context (B, T, D), mask (B, T)."""


class GlobalAttention(CrossModalAttention):
    """Every query sees every real step of the context."""

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, context: Tensor, mask: Tensor
    ) -> Tensor:
        return global_attention(query, key, value, mask[:, None])


class FixedWindowAttention(CrossModalAttention):
    """A query at t sees the real steps |j − t| ≤ ⌊w/2⌋ of the context (Longformer's window)."""

    def __init__(self, *, dim: int, heads: int, stride: int = 1, window_size: int = 8) -> None:
        super().__init__(dim=dim, heads=heads, stride=stride)
        self.window_size = checked_window_size(window_size)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, context: Tensor, mask: Tensor
    ) -> Tensor:
        return sliding_window_attention(query, key, value, mask[:, None], self.window_size // 2)


class CrossModalDynamicPerception(CrossModalAttention):
    """CDP: keys and values are sampled from target windows that follow the context (Eq. 6–8).

    The context is cut into base windows of w steps. Window adaptation (Eq. 7) gives each base
    window and head a size s and an offset o; the head samples w points, evenly spaced over the
    target window that they describe. The samples, stacked back to length T, are what a sliding
    window attends to (Eq. 8). The adaptation starts at 0, where CDP is `FixedWindowAttention`.
    """

    def __init__(self, *, dim: int, heads: int, stride: int = 1, window_size: int = 8) -> None:
        super().__init__(dim=dim, heads=heads, stride=stride)
        self.window_size = checked_window_size(window_size)
        self.adaptation = nn.Linear(dim, 2 * heads)  # a 1×1 convolution over base windows
        nn.init.zeros_(self.adaptation.weight)
        nn.init.zeros_(self.adaptation.bias)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, context: Tensor, mask: Tensor
    ) -> Tensor:
        size, offset = self.adapt_windows(context, mask)
        points = self.sampling_points(size, offset, mask.shape[1])
        last = mask.sum(1)[:, None, None] - 1
        visible = mask[:, None] & (points >= 0) & (points <= last)
        points = torch.where(visible, points, points.new_zeros(()))
        key, value = interpolate(torch.cat([key, value], dim=-1), points, last).chunk(2, dim=-1)
        return sliding_window_attention(query, key, value, visible, self.window_size // 2)

    def adapt_windows(self, context: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 7: sizes s and offsets o, (B, H, W) each, of the W = ⌈T/w⌉ base windows.

        Average pool of a base window's real steps, LeakyReLU, 1×1 convolution.
        """
        w = self.window_size
        spare = -context.shape[1] % w
        windows = functional.pad(context, (0, 0, 0, spare)).unflatten(1, (-1, w))
        real = functional.pad(mask, (0, spare)).unflatten(1, (-1, w)).sum(2, keepdim=True)
        with full_precision(context):  # positions: a rounded one is another place in the video
            pooled = windows.to(self.adaptation.weight.dtype).sum(2) / real.clamp(min=1)
            adapted = self.adaptation(functional.leaky_relu(pooled))
        size, offset = adapted.transpose(1, 2).chunk(2, dim=1)
        return size, offset

    def sampling_points(self, size: Tensor, offset: Tensor, num_steps: int) -> Tensor:
        """p_k = c_i + o·w + (1 + s)·(k − (w − 1)/2) of every slot i·w + k < T: (B, H, T) steps."""
        w = self.window_size
        step = torch.arange(num_steps, device=size.device)
        within = (step % w) - (w - 1) / 2
        centre = step - within
        size, offset = (x.repeat_interleave(w, dim=2)[..., :num_steps] for x in (size, offset))
        return centre + offset * w + (1 + size) * within


def checked_window_size(window_size: int) -> int:
    """The window size w, if it is one."""
    if window_size < 1:
        raise ValueError(f"window_size must be at least 1 step, got {window_size}")
    return window_size


def interpolate(x: Tensor, points: Tensor, last: Tensor) -> Tensor:
    """Sample (B, H, T, C) at fractional steps (B, H, T) in [0, last], linearly."""
    low = points.floor()
    fraction = (points - low).unsqueeze(-1).to(x.dtype)
    low_index = low.long()
    high_index = torch.minimum(low_index + 1, last)
    rows = torch.arange(x.shape[0] * x.shape[1], device=x.device).view(*x.shape[:2], 1)
    flat = x.flatten(0, 2)
    start = rows * x.shape[2]
    low_values = functional.embedding(start + low_index, flat)
    high_values = functional.embedding(start + high_index, flat)
    return torch.lerp(low_values, high_values, fraction)


def global_attention(query: Tensor, key: Tensor, value: Tensor, visible: Tensor) -> Tensor:
    """softmax(q·k/√d)·v over the visible keys.

    Args:
        query, key, value: (B, H, T, d).
        visible: (B, H or 1, T) bool, the keys that may be seen; a query with none gets 0.
    """
    return masked_attention(query, key, value, visible.unsqueeze(-2))


def sliding_window_attention(
    query: Tensor, key: Tensor, value: Tensor, visible: Tensor, radius: int
) -> Tensor:
    """Attention of each query t to the visible keys |j − t| ≤ radius, in O(T·radius).

    Queries go in blocks, each against the stretch of keys that its queries can see.

    Args:
        query, key, value: (B, H, T, d).
        visible: (B, H or 1, T) bool; a query without a visible key gets 0.
        radius: steps to either side.
    """
    num_steps = query.shape[2]
    if radius >= num_steps - 1:
        return global_attention(query, key, value, visible)
    block = max(2 * radius, 4)
    stretch = block + 2 * radius
    spare = -num_steps % block
    queries = functional.pad(query, (0, 0, 0, spare)).unflatten(2, (-1, block))
    keys, values = (
        functional.pad(x, (0, 0, radius, radius + spare)).unfold(2, stretch, block).mT
        for x in (key, value)
    )
    seen = functional.pad(visible, (radius, radius + spare)).unfold(2, stretch, block)
    reach = torch.arange(stretch, device=query.device) - torch.arange(
        block, device=query.device
    ).unsqueeze(1)
    allowed = seen.unsqueeze(-2) & (reach >= 0) & (reach <= 2 * radius)
    attended = masked_attention(queries, keys, values, allowed)
    return attended.flatten(2, 3)[:, :, :num_steps]


def masked_attention(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
    """Attention (…, Q, d) → (…, K, d) where `allowed` (…, Q or 1, K); nothing allowed gives 0."""
    scores = query * query.shape[-1] ** -0.5 @ key.mT
    scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1).masked_fill(~allowed, 0)
    return weights.to(value.dtype) @ value

"""Attention of a stream to another one, or to itself: which steps a query sees is a strategy.

    NoAttention            nothing
    GlobalAttention        every real step
    FixedWindowAttention   |j − t| ≤ ⌊w/2⌋, a sliding window

One module is what a residual branch adds. Strategies share parameter names, so that weights of one
load into another. A detector may have more of them, such as LoCo's (`loco.detectors.loco.cdp`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.errors import check_number
from loco.nn.layers import MaskedConv1d, downsample_mask, linear, zero_padding


class AttentionFactory(Protocol):
    """Makes the attention of a block; a strategy's class is one, or a partial of it.

    A module that it makes maps (x, context, mask), as `Attention.forward` does. Its attribute
    `attends`, True if there is none, says whether there is a branch at all.
    """

    def __call__(self, *, dim: int, heads: int, stride: int) -> nn.Module: ...


class NoAttention(nn.Module):
    """No interaction: the branch would add 0; a block only downsamples, skips and feeds forward."""

    attends = False

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


class Attention(nn.Module, ABC):
    """Multi-head attention of a stream to its context; subclasses choose what a query sees.

    Args:
        dim: width D of both streams.
        heads: number of heads H; D must be a multiple.
        stride: downsampling of queries, keys and values.
    """

    attends = True

    def __init__(self, *, dim: int, heads: int, stride: int = 1) -> None:
        super().__init__()
        for name, value in {"dim": dim, "heads": heads, "stride": stride}.items():
            check_number(name, value, 1, whole=True)
        if dim % heads:
            raise ValueError(f"dim must be a multiple of heads, got dim={dim}, heads={heads}")
        self.heads = heads
        self.stride = stride
        self.query = Projection(dim, stride)
        self.key = Projection(dim, stride)
        self.value = Projection(dim, stride)
        self.out = linear(dim, dim)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """From `x` to `context`, both (B, T, D) with one mask (B, T), to (B, ⌈T/stride⌉, D).

        What comes out is 0 in padding.
        """
        query = self.split_heads(self.query(x, mask))
        context_features = self.key.features(context, mask)
        key = self.split_heads(self.key.linear(context_features))
        value = self.split_heads(self.value(context, mask))
        coarse = downsample_mask(mask, self.stride)
        attended = self.attend(query, key, value, context_features, coarse)
        return zero_padding(self.out(attended.transpose(1, 2).flatten(2)), coarse)

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, T, D) → (B, H, T, D/H)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    @abstractmethod
    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, context: Tensor, mask: Tensor
    ) -> Tensor:
        """What the queries gather: (B, H, T, D/H) each, context (B, T, D), mask (B, T).

        Keys, values and context hold finite numbers without a meaning in padding.
        """


class GlobalAttention(Attention):
    """Every query sees every real step of the context."""

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, context: Tensor, mask: Tensor
    ) -> Tensor:
        return global_attention(query, key, value, mask[:, None])


class FixedWindowAttention(Attention):
    """A query at t sees the real steps |j − t| ≤ ⌊w/2⌋ of the context (Longformer's window).

    With `relative_bias` each head learns what to add to the logit of each distance j − t.
    """

    def __init__(
        self, *, dim: int, heads: int, stride: int = 1, window_size: int = 8,
        relative_bias: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(dim=dim, heads=heads, stride=stride)
        self.window_size = checked_window_size(window_size)
        self.relative_bias = None
        if relative_bias:
            self.relative_bias = nn.Parameter(torch.empty(heads, 2 * (window_size // 2) + 1))
            nn.init.trunc_normal_(self.relative_bias, std=(2 / dim) ** 0.5)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, context: Tensor, mask: Tensor
    ) -> Tensor:
        return sliding_window_attention(
            query, key, value, mask[:, None], self.window_size // 2, self.relative_bias
        )


def checked_window_size(window_size: int) -> int:
    """The window size w, if it is one."""
    check_number("window_size", window_size, 1, whole=True)
    return window_size


def global_attention(query: Tensor, key: Tensor, value: Tensor, visible: Tensor) -> Tensor:
    """softmax(q·k/√d)·v over the visible keys, in memory O(T): no table of T × T is kept.

    Args:
        query, key, value: (B, H, T, d).
        visible: (B, H or 1, T) bool, the keys that may be seen; a query with none gets 0.
    """
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=visible.unsqueeze(-2)
    )


def sliding_window_attention(
    query: Tensor, key: Tensor, value: Tensor, visible: Tensor, radius: int,
    bias: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Attention of each query t to the visible keys |j − t| ≤ radius, in O(T·radius).

    Queries go in blocks, each against the stretch of keys that its queries can see.

    Args:
        query, key, value: (B, H, T, d).
        visible: (B, H or 1, T) bool; a query without a visible key gets 0.
        radius: steps to either side.
        bias: (H, 2·radius + 1), added to the logits of the keys at j − t = −radius … radius.
    """
    num_steps = query.shape[2]
    if radius >= num_steps - 1 and bias is None:
        attended = global_attention(query, key, value, visible)
        # torch says 0 of a query that sees nothing, but not every runtime of an exported net does
        return attended.masked_fill(~visible.any(-1, keepdim=True).unsqueeze(-1), 0)
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
    if bias is not None:
        bias = bias[:, reach.clamp(0, 2 * radius)].unsqueeze(1)
    attended = masked_attention(queries, keys, values, allowed, bias)
    return attended.flatten(2, 3)[:, :, :num_steps]


def masked_attention(
    query: Tensor, key: Tensor, value: Tensor, allowed: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Attention (…, Q, d) → (…, K, d) where `allowed` (…, Q or 1, K); nothing allowed gives 0.

    `bias`, broadcast to (…, Q, K), is added to the logits.
    """
    scores = query * query.shape[-1] ** -0.5 @ key.mT
    if bias is not None:
        scores = scores + bias
    scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1).masked_fill(~allowed, 0)
    return weights.to(value.dtype) @ value

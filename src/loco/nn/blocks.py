"""The transformer block that all parts of a net share, and what makes blocks of one kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from loco.errors import check_number
from loco.nn.attention import AttentionFactory, GlobalAttention
from loco.nn.layers import FeedForward, ScaledDropPath, masked_max_pool

Asks = Literal["self", "context"]


class TransformerBlock(nn.Module):
    """Pre-norm residual block: attend, to a context or to itself, then feed forward.

        x' = pool(x) + s₁ · attend(LN(x), LN(c))        or, where the context asks,
        x' = pool(x) + s₁ · attend(LN(c), LN(x))
        x'' = x' + s₂ · FFN(LN(x'))

    One convention for all residual branches: a branch says what is to be added, the block norms
    what it reads, scales what it says (s, a learnable factor a channel, with drop path), and adds.

    Args:
        dim: width D.
        heads: attention heads H.
        stride: downsampling of time, by the attention and by the max-pool of the skip.
        attention: makes the attention strategy; one whose `attends` is False gets no branch.
        context: whether it attends to another stream, with a norm of its own, or to itself.
        asks: whose steps are the queries: its own, or the context's, which read keys and values of
            its own. Where the context asks there is always a norm for it, and x stands in for a
            context that is not given.
        expansion: hidden width of the feed-forward part, in D.
        drop_path: probability that a video skips a branch in training.
        layer_scale: what the channel factors start from.
    """

    def __init__(
        self,
        *,
        dim: int,
        heads: int,
        stride: int = 1,
        attention: AttentionFactory = GlobalAttention,
        context: bool = False,
        asks: Asks = "self",
        expansion: int = 4,
        drop_path: float = 0.0,
        layer_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if asks not in ("self", "context"):
            raise ValueError(f"asks must be self or context, got {asks!r}")
        self.stride = stride
        self.asks = asks
        self.attention = attention(dim=dim, heads=heads, stride=stride)
        self.attends = bool(getattr(self.attention, "attends", True))
        if self.attends:
            self.attention_norm = nn.LayerNorm(dim)
            self.context_norm = nn.LayerNorm(dim) if context or asks == "context" else None
            self.attention_scale = ScaledDropPath(dim, drop_path, layer_scale)
        self.feed_forward_norm: nn.Module = nn.LayerNorm(dim)
        self.feed_forward: nn.Module = FeedForward(dim, hidden=expansion * dim)
        self.feed_forward_scale = ScaledDropPath(dim, drop_path, layer_scale)

    def forward(self, x: Tensor, mask: Tensor, context: Tensor | None = None) -> Tensor:
        """(B, T, D), mask (B, T), and the other stream (B, T, D) → (B, ⌈T/stride⌉, D)."""
        out = masked_max_pool(x, mask, self.stride)
        if self.attends:
            query = seen = self.attention_norm(x)
            if self.context_norm is not None:
                if context is None:
                    assert self.asks == "context"
                    context = x
                seen = self.context_norm(context)
            if self.asks == "context":
                query, seen = seen, query
            out = out + self.attention_scale(self.attention(query, seen, mask))
        return out + self.feed_forward_scale(self.feed_forward(self.feed_forward_norm(out)))


@dataclass(frozen=True)
class BlockFactory:
    """Makes the blocks of a net: what they have in common is said once and handed down as this.

    Args:
        dim: width D.
        heads: attention heads H.
        drop_path: probability that a video skips a residual branch in training.
        layer_scale: what the branches' channel factors start from.
        asks: whose steps are the queries, see `TransformerBlock`.
    """

    dim: int
    heads: int
    drop_path: float = 0.0
    layer_scale: float = 1.0
    asks: Asks = "self"

    def __post_init__(self) -> None:
        for name in ("dim", "heads"):
            check_number(name, getattr(self, name), 1, whole=True)
        check_number("drop_path", self.drop_path, 0, 1, without="high")
        check_number("layer_scale", self.layer_scale)

    def __call__(
        self,
        *,
        stride: int = 1,
        attention: AttentionFactory = GlobalAttention,
        context: bool = False,
    ) -> TransformerBlock:
        return TransformerBlock(
            dim=self.dim, heads=self.heads, stride=stride, attention=attention, context=context,
            asks=self.asks, drop_path=self.drop_path, layer_scale=self.layer_scale,
        )  # fmt: skip

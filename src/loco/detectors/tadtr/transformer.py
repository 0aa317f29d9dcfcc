"""Encoder and decoder: relate the steps of a video, then let queries read events from them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.detectors.tadtr.deformable import DeformableAttention
from loco.nn.layers import full_precision


def relative_positions(mask: Tensor, dim: int, like: Tensor) -> Tensor:
    """Sinusoids (B, T, D) of how much of its video lies before a step's end: 2π at the last one."""
    count = mask.sum(1, keepdim=True)
    angle = mask.cumsum(1).to(like.dtype) / (count + 1e-6) * (2 * math.pi)
    channel = torch.arange(0, dim, 2, device=mask.device, dtype=like.dtype)
    angle = angle.unsqueeze(-1) / 10000 ** (channel / dim)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(2)[..., :dim]


class FeedForward(nn.Module):
    """Residual, post-norm: LN(x + W2 ReLU(W1 x)), dropout within and behind."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, hidden)
        self.contract = nn.Linear(hidden, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(functional.relu(self.expand(x)))
        return self.norm(x + self.dropout(self.contract(hidden)))


class EncoderLayer(nn.Module):
    """A step reads a few others, then feeds forward; both residual, post-norm."""

    def __init__(self, dim: int, heads: int, points: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = DeformableAttention(dim, heads, points)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.feed_forward = FeedForward(dim, hidden, dropout)

    def forward(self, x: Tensor, position: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D), positions alike, mask (B, T) → (B, T, D)."""
        centre = torch.arange(x.shape[1], device=x.device, dtype=position.dtype) + 0.5
        centre = centre.view(1, -1, 1).expand(len(x), -1, -1)
        read = self.attention(x + position, centre, x, mask)
        return self.feed_forward(self.norm(x + self.dropout(read)))


class Encoder(nn.Module):
    """Layers of one kind; positions and a learnt vector go with the queries of each."""

    def __init__(
        self, dim: int, heads: int, points: int, hidden: int, dropout: float, num_layers: int
    ) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.randn(1, dim))
        self.layers = nn.ModuleList(
            EncoderLayer(dim, heads, points, hidden, dropout) for _ in range(num_layers)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) → the memory (B, T, D); what stands in padding has no meaning."""
        position = relative_positions(mask, x.shape[2], like=x) + self.level
        for layer in self.layers:
            x = layer(x, position, mask)
        return x


class DecoderLayer(nn.Module):
    """Queries attend to each other, read the memory, feed forward; all residual, post-norm."""

    def __init__(self, dim: int, heads: int, points: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(dim, heads, dropout, batch_first=True)
        self.self_norm = nn.LayerNorm(dim)
        self.attention = DeformableAttention(dim, heads, points)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.feed_forward = FeedForward(dim, hidden, dropout)

    def forward(
        self, state: Tensor, position: Tensor, reference: Tensor, memory: Tensor, mask: Tensor
    ) -> Tensor:
        """States and positions (B, Q, D), references as `DeformableAttention` takes them."""
        query = state + position
        heard, _ = self.self_attention(query, query, state, need_weights=False)
        state = self.self_norm(state + self.dropout(heard))
        read = self.attention(state + position, reference, memory, mask)
        return self.feed_forward(self.norm(state + self.dropout(read)))


class Decoder(nn.Module):
    """Q learnt queries become events; every layer moves the segments of the one before.

    A layer's own heads say class and segment. The segment goes to the next layer as a reference
    without gradient, the layer's losses see it with one.

    Args:
        dim: width D.
        heads, points: of the attention.
        hidden: width within feed-forward layers.
        dropout: of attention, feed-forward layers and residual branches.
        num_layers: L.
        num_queries: Q, the most events that can be said.
        num_classes: K.
        prior: probability that an untrained model gives every class.
    """

    def __init__(
        self, dim: int, heads: int, points: int, hidden: int, dropout: float, num_layers: int,
        *, num_queries: int, num_classes: int, prior: float = 0.01,
    ) -> None:  # fmt: skip
        super().__init__()
        self.queries = nn.Embedding(num_queries, 2 * dim)  # positions, then contents
        self.reference_points = nn.Linear(dim, 1)
        self.layers = nn.ModuleList(
            DecoderLayer(dim, heads, points, hidden, dropout) for _ in range(num_layers)
        )
        self.classify = nn.ModuleList(nn.Linear(dim, num_classes) for _ in range(num_layers))
        self.locate = nn.ModuleList(
            nn.Sequential(
                nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 2)
            )
            for _ in range(num_layers)
        )
        for name, parameter in self.classify.named_parameters():
            if name.endswith("bias"):
                nn.init.constant_(parameter, -math.log((1 - prior) / prior))
        for number, head in enumerate(self.locate):
            last = [*head.children()][-1]
            for parameter in last.parameters():
                nn.init.zeros_(parameter)
            if number == 0:  # a narrow width, σ(−2) = 0.12 of the video
                nn.init.constant_(last.get_parameter("bias")[1:], -2.0)

    def forward(self, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Memory (B, T, D), mask (B, T).

        Returns:
            logits (L, B, Q, K); segments (L, B, Q, 2), centres and widths as fractions of a video's
            real steps; states (L, B, Q, D).
        """
        position, state = self.queries.weight.repeat(len(memory), 1, 1).chunk(2, dim=2)
        count = mask.sum(1).view(-1, 1, 1)
        with full_precision(memory):
            reference = self.reference_points(position).sigmoid()
        logits, segments, states = [], [], []
        for layer, classify, locate in zip(self.layers, self.classify, self.locate, strict=True):
            state = layer(state, position, reference * count, memory, mask)
            with full_precision(state):
                full = state.to(position.dtype)
                before = torch.logit(reference, eps=1e-5)
                before = functional.pad(before, (0, 2 - before.shape[-1]))
                segment = (locate(full) + before).sigmoid()
                logits.append(classify(full))
            segments.append(segment)
            states.append(full)
            reference = segment.detach()
        return torch.stack(logits), torch.stack(segments), torch.stack(states)

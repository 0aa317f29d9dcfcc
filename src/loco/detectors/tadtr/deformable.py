"""Temporal deformable attention: a query reads a few points of the memory, at steps it chooses."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.errors import check_number
from loco.nn.layers import full_precision, zero_padding


def weighted_samples(x: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Σ_s w_s · x(index_s), x read between its steps by linear interpolation, 0 beyond its ends.

    The samples are added while they are read, so that memory grows with the places, not with
    places × samples × channels.

    Args:
        x: (G, T, C), groups that do not interact.
        index: (G, M, S) fractional steps; 0 is the first one.
        weights: (G, M, S).

    Returns:
        (G, M, C).
    """
    groups, num_steps, channels = x.shape
    low = index.floor()
    share = index - low
    step = torch.stack([low, low + 1], dim=-1).flatten(2)
    weight = torch.stack([weights * (1 - share), weights * share], dim=-1).flatten(2)
    inside = (step >= 0) & (step < num_steps)
    row = torch.where(inside, step, 0).long()
    row = row + torch.arange(groups, device=x.device).view(-1, 1, 1) * num_steps
    sums = functional.embedding_bag(
        row.flatten(0, 1), x.reshape(-1, channels), mode="sum",
        per_sample_weights=torch.where(inside, weight, 0).flatten(0, 1),
    )  # fmt: skip
    return sums.view(groups, -1, channels)


class DeformableAttention(nn.Module):
    """Each head reads P points of the memory around a reference and weighs them.

    Positions are in steps from the start of the first one, so that step t reaches from t to t + 1
    and what lies beyond the real steps is 0, whatever a video is padded to.

    Args:
        dim: width D.
        heads: H; D must be a multiple.
        points: P of each head.
    """

    def __init__(self, dim: int, heads: int, points: int) -> None:
        super().__init__()
        for name, value in {"dim": dim, "heads": heads, "points": points}.items():
            check_number(name, value, 1, whole=True)
        if dim % heads:
            raise ValueError(f"dim must be a multiple of heads, got dim={dim}, heads={heads}")
        self.heads = heads
        self.points = points
        self.sampling_offsets = nn.Linear(dim, heads * points)
        self.attention_weights = nn.Linear(dim, heads * points)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Points that do not depend on the query yet: head h starts at cos(4πh/H)·(1 … P) steps."""
        for layer in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(layer.weight)
        for layer in (self.attention_weights, self.value, self.out):
            nn.init.zeros_(layer.bias)
        for layer in (self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)
        direction = torch.cos(torch.arange(self.heads) * (4 * math.pi / self.heads))
        with torch.no_grad():
            start = direction.unsqueeze(1) * torch.arange(1, self.points + 1)
            self.sampling_offsets.bias.copy_(start.flatten())

    def sample_at(self, query: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Positions in steps and weights of the points, (B, Q, H, P) each; see `forward`."""
        with full_precision(query):
            query = query.to(self.sampling_offsets.weight.dtype)
            offsets = self.sampling_offsets(query).unflatten(2, (self.heads, -1))
            weights = self.attention_weights(query).unflatten(2, (self.heads, -1)).softmax(-1)
            centre = reference[..., :1].unsqueeze(2)
            if reference.shape[-1] == 2:
                offsets = offsets / self.points * reference[..., 1:].unsqueeze(2) * 0.5
            return centre + offsets, weights

    def forward(self, query: Tensor, reference: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """What the queries read, (B, Q, D).

        Args:
            query: (B, Q, D), position included.
            reference: (B, Q, 1) positions, from which offsets are steps; or (B, Q, 2) centres and
                widths, where the last point of a head may lie half a width off, times its offset.
            memory: (B, T, D).
            mask: (B, T), True at the memory's real steps.
        """
        position, weights = self.sample_at(query, reference)
        value = zero_padding(self.value(memory), mask).to(weights.dtype)
        by_head = value.unflatten(2, (self.heads, -1)).transpose(1, 2).flatten(0, 1)
        with full_precision(by_head):
            read = weighted_samples(
                by_head,
                position.transpose(1, 2).flatten(0, 1) - 0.5,
                weights.transpose(1, 2).flatten(0, 1),
            )
        return self.out(read.unflatten(0, (-1, self.heads)).transpose(1, 2).flatten(2))

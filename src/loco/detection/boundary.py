"""Boundaries that are looked at again, in the finest level, where they were first said to lie."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.detection.heads import PointHead
from loco.nn.layers import full_precision, zero_padding


class BoundaryHead(PointHead):
    """A class-agnostic `PointHead` whose boundaries are moved once, by what is found there.

        d' = max(0, d + (d_start + d_end) · f(x_point, F(t − d_start), F(t + d_end)))

    F is the finest level, read between its steps; f starts at 0, where the head is a `PointHead`.

    Args:
        dim: channels D of a level.
        num_classes: K.
        num_levels: pyramid levels of strides 1, 2, 4, …
        hidden: channels between the convolutions, and in f; None is `dim`.
        prior: probability that an untrained model gives every class.

    Source: after the boundary adjustment of VSGN (Zhao et al. 2021) and the boundary pooling of
    AFSD (Lin et al. 2021).
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        num_levels: int,
        hidden: int | None = None,
        prior: float = 0.01,
    ) -> None:
        super().__init__(
            dim, num_classes, num_levels=num_levels, hidden=hidden, class_aware=False, prior=prior
        )
        width = dim if hidden is None else hidden
        self.look = nn.Linear(3 * dim, width)
        self.move = nn.Linear(width, 2)
        nn.init.zeros_(self.move.weight)
        nn.init.zeros_(self.move.bias)

    def forward(self, levels: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        """As `PointHead`, offsets (B, P, 2)."""
        logits, offsets, mask = super().forward(levels)
        finest, real = levels[0]
        sizes = [x.shape[1] for x, _ in levels]
        stride = torch.cat([offsets.new_full((n,), 2.0**i) for i, n in enumerate(sizes)])
        step = torch.cat([torch.arange(n, device=offsets.device) for n in sizes]) * stride
        reach = offsets.detach() * stride[:, None]
        last = (real.sum(1) - 1).clamp(min=0)[:, None]
        ends = [
            read(zero_padding(finest, real), place.clamp(min=0).minimum(last.to(place.dtype)))
            for place in (step - reach[..., 0], step + reach[..., 1])
        ]
        points = torch.cat([x for x, _ in levels], 1)
        seen = functional.relu(self.look(torch.cat([points, *ends], 2)))
        with full_precision(seen):
            moved = self.move(seen.to(self.move.weight.dtype)) * offsets.detach().sum(2, True)
            return logits, functional.relu(offsets + moved), mask


def read(x: Tensor, places: Tensor) -> Tensor:
    """Read (B, T, D) at steps (B, P) in [0, T − 1], linearly between them: (B, P, D)."""
    low = places.long()
    high = (low + 1).clamp(max=x.shape[1] - 1)
    at_low, at_high = (x.gather(1, i.unsqueeze(2).expand(-1, -1, x.shape[2])) for i in (low, high))
    return torch.lerp(at_low, at_high, (places - low).unsqueeze(2).to(x.dtype))

"""Boundaries that are looked at again, in the finest level, where they were first said to lie."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.detection.heads import ClassAgnosticHead
from loco.nn.layers import full_precision, zero_padding
from loco.nn.sampling import interpolate


class BoundaryHead(ClassAgnosticHead):
    """A `ClassAgnosticHead` whose boundaries are moved once, by what is found there.

        d' = max(0, d + (d_start + d_end) · f(x_point, F(t − d_start), F(t + d_end)))

    F is the finest level, read between its steps; f starts at 0, where the head is that one.

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
        super().__init__(dim, num_classes, num_levels=num_levels, hidden=hidden, prior=prior)
        width = dim if hidden is None else hidden
        self.look = nn.Linear(3 * dim, width)
        self.move = nn.Linear(width, 2)
        nn.init.zeros_(self.move.weight)
        nn.init.zeros_(self.move.bias)

    def forward(self, levels: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        """As `ClassAgnosticHead`."""
        logits, offsets, mask = super().forward(levels)
        sizes = [x.shape[1] for x, _ in levels]
        stride = torch.cat([offsets.new_full((n,), 2.0**i) for i, n in enumerate(sizes)])
        step = torch.cat([torch.arange(n, device=offsets.device) for n in sizes]) * stride
        reach = offsets.detach() * stride[:, None]
        places = torch.stack([step - reach[..., 0], step + reach[..., 1]], 1)  # (B, 2, P)
        last = (levels[0][1].sum(1) - 1).clamp(min=0)[:, None, None]
        points = torch.cat([zero_padding(x, of_level) for x, of_level in levels], 1)
        finest = points[:, None, : sizes[0]].expand(-1, 2, -1, -1)
        ends = interpolate(finest, places.clamp(min=0).minimum(last), last)
        seen = functional.relu(self.look(torch.cat([points, *ends.unbind(1)], 2)))
        with full_precision(seen):
            moved = self.move(seen.to(self.move.weight.dtype)) * offsets.detach().sum(2, True)
            return logits, functional.relu(offsets + moved), mask

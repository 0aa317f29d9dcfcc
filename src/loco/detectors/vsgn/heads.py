"""What the net says: classes and boxes, frame by frame where events are, and a second look."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.nn.layers import full_precision


def tower(dim: int, out_channels: int, num_convs: int) -> nn.Sequential:
    """Convolutions with GroupNorm and ReLU, then one without."""
    layers: list[nn.Module] = []
    for _ in range(num_convs):
        layers += [
            nn.Conv1d(dim, dim, 3, padding=1), nn.GroupNorm(math.gcd(32, dim), dim), nn.ReLU(),
        ]  # fmt: skip
    return nn.Sequential(*layers, nn.Conv1d(dim, out_channels, 3, padding=1))


class BoxHead(nn.Module):
    """Two towers that all levels share: classes and box offsets of A anchors a place.

    Args:
        dim: width D.
        num_anchors: A.
        num_outputs: of an anchor: K + 1 with a background, or K.
        num_convs: convolutions before the last of a tower.
    """

    def __init__(self, dim: int, num_anchors: int, num_outputs: int, num_convs: int) -> None:
        super().__init__()
        self.num_anchors = num_anchors
        self.classify = tower(dim, num_anchors * num_outputs, num_convs)
        self.regress = tower(dim, num_anchors * 2, num_convs)

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Levels (R, D, T_l) → logits (R, P, outputs) and offsets (R, P, 2), anchors fastest."""
        both = []
        for head in (self.classify, self.regress):
            said = []
            for level in levels:
                hidden = head[:-1](level)
                with full_precision(hidden):
                    last = head[-1](hidden.to(self.dtype))
                said.append(last.mT.unflatten(2, (self.num_anchors, -1)).flatten(1, 2))
            both.append(torch.cat(said, dim=1))
        return both[0], both[1]

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


class FrameHead(nn.Module):
    """A probability for each of L frames, from the finest level."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, 3, padding=1)
        self.last = nn.Conv1d(dim, 1, 1)

    def forward(self, x: Tensor, length: int) -> Tensor:
        """(R, D, T) → (R, L)."""
        hidden = functional.relu(self.conv(x))
        with full_precision(hidden):
            said = self.last(hidden.to(self.last.weight.dtype)).sigmoid()
            return functional.interpolate(said, length, mode="linear", align_corners=True)[:, 0]


class BoundaryHead(nn.Module):
    """How far one boundary lies off, from what stands before it, at it and behind it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * dim, dim)
        self.last = nn.Linear(dim, 1)

    def forward(self, x: Tensor, boundary: Tensor, reach: Tensor, stride: int) -> Tensor:
        """Frames (R, P) to add.

        Args:
            x: (R, D, T) the finest level.
            boundary: (R, P) frames.
            reach: (R, P) frames to either side.
            stride: frames a step of that level.
        """
        at = torch.stack([boundary - reach, boundary, boundary + reach], dim=2) / stride
        place = at.long().clamp(0, x.shape[2] - 1)
        row = torch.arange(len(x), device=x.device).view(-1, 1, 1)
        hidden = functional.relu(self.hidden(x.mT[row, place].flatten(2)))
        with full_precision(hidden):
            return self.last(hidden.to(self.last.weight.dtype)).squeeze(2)


class BoundaryAdjustment(nn.Module):
    """The second stage: moves starts and ends by what the finest level holds around them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.start = BoundaryHead(dim)
        self.end = BoundaryHead(dim)

    def forward(self, x: Tensor, boxes: Tensor, length: int, stride: int) -> Tensor:
        """Finest level (R, D, T) and boxes (R, P, 2) in frames → boxes (R, P, 2)."""
        inside = boxes.detach().clamp(0, length - 1)
        start, end = inside.unbind(-1)
        reach = (end - start + 1) / 8
        moved = [
            head(x, boundary, reach, stride)
            for head, boundary in ((self.start, start), (self.end, end))
        ]
        return boxes + torch.stack(moved, dim=-1)

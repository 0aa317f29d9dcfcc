"""How well a segment fits an event, from what the memory holds around it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from loco.detectors.tadtr.deformable import weighted_samples
from loco.errors import check_number
from loco.nn.layers import full_precision


def regions(segments: Tensor, count: Tensor, scale: float) -> Tensor:
    """Starts and ends (B, Q, 2) in steps of stretched segments, within the real steps.

    Args:
        segments: (B, Q, 2) centres and widths, as fractions of the real steps.
        count: (B,) real steps n.
        scale: factor on the widths.
    """
    centre, width = segments.unbind(-1)
    ends = torch.stack([centre - width * scale / 2, centre + width * scale / 2], dim=-1)
    return ends.clamp(0, 1) * count.view(-1, 1, 1)


def align(x: Tensor, count: Tensor, region: Tensor, bins: int) -> Tensor:
    """RoIAlign in one dimension: each bin is the mean of ⌈length/bins⌉ samples of x.

    The old rule, as the public code has it: a position is an index, without the half step between
    a step's start and its centre; regions are at least one step long; samples up to one step
    outside read the outermost step, others 0.

    Args:
        x: (B, T, C).
        count: (B,) real steps n; what stands behind them is not read.
        region: (B, Q, 2) starts and ends in steps.
        bins: of a region.

    Returns:
        (B, Q, bins, C).
    """
    start, end = region.nan_to_num().unbind(-1)  # of NaN the losses and the decoding tell
    length = (end - start).clamp(min=1)
    samples = (length / bins).ceil().view(*length.shape, 1, 1)
    most = int(samples.max()) if samples.numel() else 1
    nth = torch.arange(most, device=x.device, dtype=region.dtype)
    place = torch.arange(bins, device=x.device, dtype=region.dtype).view(-1, 1)
    width = (length / bins).view(*length.shape, 1, 1)
    at = start.view(*start.shape, 1, 1) + (place + (nth + 0.5) / samples) * width
    last = count.view(-1, 1, 1, 1)
    read = (nth < samples) & (at >= -1) & (at <= last)
    index = at.clamp(min=0).minimum(last - 1)
    pooled = weighted_samples(
        x, index.flatten(1, 2), torch.where(read, 1 / samples, 0).flatten(1, 2)
    )
    return pooled.unflatten(1, (-1, bins))


class Actionness(nn.Module):
    """Pools a segment and its surroundings, and guesses its IoU with the events.

    Args:
        dim: width D of the memory.
        bins: places that a region is pooled to.
        scale: how much wider than its segment a region is.
    """

    def __init__(self, dim: int, *, bins: int = 16, scale: float = 1.5) -> None:
        super().__init__()
        check_number("bins", bins, 1, whole=True)
        check_number("scale", scale, 0, without="low")
        self.bins = bins
        self.scale = scale
        self.head = nn.Sequential(
            nn.Linear(dim * bins, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 1)
        )

    def forward(self, memory: Tensor, mask: Tensor, segments: Tensor) -> Tensor:
        """Memory (B, T, D), mask (B, T), segments (B, Q, 2) → (B, Q) in [0, 1].

        Segments are given no gradient: they are rated, not moved, by this.
        """
        count = mask.sum(1)
        with full_precision(memory):
            memory = memory.to(segments.dtype)
            region = regions(segments.detach(), count, self.scale)
            pooled = align(memory, count, region, self.bins)
        rating = self.head(pooled.transpose(2, 3).flatten(2))
        return rating.squeeze(-1).to(segments.dtype).sigmoid()

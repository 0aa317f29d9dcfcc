"""Batches of random features that tests of detectors share, and what they do with them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from loco.structures import Batch, Events, TimeGrid

GRID = TimeGrid(fps=25, window=24, stride=8)
VISUAL, AUDIO = 6, 5


def make_batch(
    lengths: Sequence[int], events: Sequence[Events] = (), fill: float = math.nan
) -> Batch:
    """A padded batch; a video's features depend on its place alone, padding holds `fill`.

    Videos behind the last of `events` have none.
    """
    longest = max(lengths)
    visual, audio = (torch.full((len(lengths), longest, c), fill) for c in (VISUAL, AUDIO))
    for b, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(b)
        for x in (visual, audio):
            x[b, :length] = torch.randn(length, x.shape[2], generator=generator)
    return Batch(
        visual=visual,
        audio=audio,
        mask=torch.arange(longest) < torch.tensor(lengths).unsqueeze(1),
        durations=torch.tensor([GRID.end_seconds(n) for n in lengths], dtype=torch.float64),
        indices=torch.arange(len(lengths)),
        video_ids=[f"v{b}" for b in range(len(lengths))],
        events=[*events, *[Events.empty() for _ in lengths[len(events) :]]],
        grid=GRID,
    )


def double(batch: Batch) -> Batch:
    """The same features in float64."""
    return batch._with_features(lambda x: x.double() if x.is_floating_point() else x)


def single(batch: Batch, b: int) -> Batch:
    """Video b of a batch, without padding."""
    n, one = int(batch.mask[b].sum()), slice(b, b + 1)
    return Batch(
        batch.visual[one, :n], batch.audio[one, :n], batch.mask[one, :n], batch.durations[one],
        batch.indices[one], [batch.video_ids[b]], [batch.events[b]], batch.grid, batch.task,
    )  # fmt: skip


def events_of(*rows: tuple[float, float, int]) -> Events:
    """Events from their starts and ends in seconds, and labels."""
    return Events(
        torch.tensor([row[:2] for row in rows], dtype=torch.float64).reshape(-1, 2),
        torch.tensor([row[2] for row in rows], dtype=torch.long),
    )


def total(losses: dict[str, Tensor]) -> Tensor:
    """What a training step minimises."""
    return torch.stack([v for k, v in losses.items() if k.startswith("loss_")]).sum()

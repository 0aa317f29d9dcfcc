"""What the processes of a training share while a loss is worked out.

Each holds a part of the global batch, and data parallel training averages their gradients. So a sum
over the global batch is the mean of `processes() · (the sum of a part)`. All processes must call
these functions equally often, in the same order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if _together() else 1


def summed(x: Tensor) -> Tensor:
    """The sum of a tensor over all processes, without gradient."""
    x = x.detach()
    if _together():
        x = x.clone()
        distributed.all_reduce(x)
    return x


def shared(count: Tensor, together: bool = True, *, least: float = 1) -> Tensor:
    """What to divide a part's sum by, for the mean over the processes to be that of the whole.

    Args:
        count: of what this process's part holds, any shape.
        together: whether the processes step together, as in training; else each is on its own.
        least: what the count of all is taken for where it is less.
    """
    if not together:
        return count.detach().clamp(min=least)
    return summed(count).clamp(min=least) / processes()


def gathered(rows: Tensor) -> Tensor:
    """The rows (N_r, C) of all processes below one another, (ΣN_r, C); N_r may differ.

    What one process does with the rows of another is part of the gradient that these get there.
    """
    if not _together():
        return rows
    gathered_rows: Tensor = _Gathered.apply(rows)
    return gathered_rows


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        count = rows.new_tensor([len(rows)], dtype=torch.long)
        counts = [torch.empty_like(count) for _ in range(processes())]
        distributed.all_gather(counts, count)
        ctx.counts = [int(each) for each in counts]
        padded = rows.new_zeros(max(ctx.counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in ctx.counts]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:n] for part, n in zip(parts, ctx.counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return summed(gradient.contiguous()).split(ctx.counts)[distributed.get_rank()]

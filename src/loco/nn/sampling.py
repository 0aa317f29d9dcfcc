"""Reading a sequence between its steps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def interpolate(x: Tensor, points: Tensor, last: Tensor) -> Tensor:
    """Sample (B, H, T, C) at fractional steps (B, H, P) in [0, last], linearly: (B, H, P, C).

    `last`, the last real step of each video, broadcasts to (B, H, P).
    """
    low = points.floor()
    fraction = (points - low).unsqueeze(-1).to(x.dtype)
    low_index = low.long()
    high_index = torch.minimum(low_index + 1, last)
    rows = torch.arange(x.shape[0] * x.shape[1], device=x.device).view(*x.shape[:2], 1)
    flat = x.flatten(0, 2)
    start = rows * x.shape[2]
    low_values = functional.embedding(start + low_index, flat)
    high_values = functional.embedding(start + high_index, flat)
    return torch.lerp(low_values, high_values, fraction)

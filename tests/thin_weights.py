"""Weights for tests of large nets: random numbers of which a file holds a few thousand only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


def thin_state(net: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """A state dict with the names and shapes of a net, of overlapping views of one short tensor.

    Numbers are as large as those of a net that is not trained yet, so that no output is all 0.
    """
    numbers = torch.from_numpy(np.random.default_rng(seed).normal(size=1 << 14)).float()
    numbers.clamp_(-3, 3)
    state = {}
    for name, value in net.state_dict().items():
        if not value.is_floating_point():
            continue
        fan = max(1, value[0].numel()) if value.dim() > 1 else 1
        scale = (2 / fan) ** 0.5 if value.dim() > 1 else 0.1
        strides = [max(1, 13**i % 97) for i in range(value.dim())]
        while sum((n - 1) * s for n, s in zip(value.shape, strides, strict=True)) >= len(numbers):
            strides = [max(0, s // 2) for s in strides]
        view = (numbers * scale).as_strided(value.shape, strides)
        if name.endswith(("running_var", "norm1.weight", "batch3d.weight")):
            view = (1 + (numbers * 0.1)).as_strided(value.shape, strides)
        state[name] = view
    return state


def write_thin(path: Path, net: nn.Module, seed: int = 0) -> Path:
    """A file of such weights."""
    torch.save(thin_state(net, seed), path)
    return path

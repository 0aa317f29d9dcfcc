"""What the processes of a training exchange."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, distributed

from loco.nn.processes import processes, summed


def merged(part: dict[str, Any]) -> dict[str, Any]:
    """The entries of the same dict in all processes; every process must call it."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return part
    parts: list[dict[str, Any]] = [{} for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(parts, part)
    return {key: value for of_one in parts for key, value in of_one.items()}


def averaged(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each scalar's mean over all processes; every one must call it, with the same keys."""
    if processes() == 1:
        return dict(values)
    mean = summed(torch.stack([value.float() for value in values.values()])) / processes()
    return dict(zip(values, mean.unbind(), strict=True))


def everywhere(here: bool, device: torch.device) -> bool:
    """Whether something holds in all processes; every process must call it."""
    return bool(summed(torch.tensor(float(here), device=device)) == processes())

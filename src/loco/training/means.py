"""Means over an epoch that a run which resumes within it goes on with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from loco.nn.processes import summed


class RunningMeans:
    """Weighted means of named values that come step by step."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor | float, float]] = {}  # of weighted values, of weights

    def add(self, values: Mapping[str, Tensor | float], weight: float) -> None:
        """Take in one step's values, scalars without gradient."""
        for name, value in values.items():
            total, weights = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = total + value * weight, weights + weight

    def means(self) -> dict[str, Tensor | float]:
        """The means so far."""
        return {name: total / weights for name, (total, weights) in self._sums.items()}

    def of_all_processes(self, device: torch.device) -> dict[str, float]:
        """The same over all processes; every one must call it, with the same names."""
        if not self._sums:
            return {}
        pairs = [[float(total), weights] for total, weights in self._sums.values()]
        both = summed(torch.tensor(pairs, dtype=torch.float32, device=device))
        return dict(zip(self._sums, (both[:, 0] / both[:, 1]).tolist(), strict=True))

    def clear(self) -> None:
        """Forget all values."""
        self._sums = {}

    def state_dict(self) -> dict[str, tuple[float, float]]:
        """Plain values, for a checkpoint."""
        return {name: (float(total), weights) for name, (total, weights) in self._sums.items()}

    def load_state_dict(self, state: Mapping[str, tuple[float, float]]) -> None:
        """Go on from there."""
        self._sums = dict(state)

"""AdamW with a linear warm-up and a cosine decay, as the field trains these detectors [U]."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


class OptimizerFactory(Protocol):
    """Makes an optimiser and its schedule, which steps once a training step."""

    def __call__(
        self, model: nn.Module, *, total_steps: int, steps_per_epoch: int
    ) -> tuple[torch.optim.Optimizer, LRScheduler]: ...


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices and kernels decay; biases, norms, channel scales, σ and τ (all below 2-D) do not."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


@dataclass(frozen=True)
class WarmupCosine:
    """The factor on the learning rate at a step: a line up to 1, then half a cosine down to 0."""

    warmup_steps: int
    total_steps: int

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1)
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


@dataclass(frozen=True)
class AdamW:
    """An `OptimizerFactory`.

    Args:
        lr: learning rate after the warm-up.
        weight_decay: of matrices and kernels.
        warmup_epochs: epochs of warm-up, at most half the training; cosine to the end after them.
    """

    lr: float = 1e-4
    weight_decay: float = 1e-4
    warmup_epochs: float = 5

    def __call__(
        self, model: nn.Module, *, total_steps: int, steps_per_epoch: int
    ) -> tuple[torch.optim.Optimizer, LRScheduler]:
        groups = parameter_groups(model, self.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=self.lr)
        warmup_steps = min(round(self.warmup_epochs * steps_per_epoch), total_steps // 2)
        return optimizer, LambdaLR(optimizer, WarmupCosine(warmup_steps, total_steps))

"""AdamW with a linear warm-up and a cosine decay, as the field trains these detectors [U]."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from loco.errors import check_number

log = logging.getLogger(__name__)

NORMS = ("Norm", "Norm1d", "Norm2d", "Norm3d")
OF_LCC = ("log_sigma", "log_temperature")
"""What the configuration has factors for, whether or not a model has them."""
"""How the names of normalisation layers end."""


class OptimizerFactory(Protocol):
    """Makes an optimiser and its schedule, which steps once a training step.

    `total_steps` is None where nobody knows it, in a training that time alone ends.
    """

    def __call__(
        self, model: nn.Module, *, total_steps: int | None, steps_per_epoch: int
    ) -> tuple[torch.optim.Optimizer, LRScheduler]: ...


def parameter_groups(
    model: nn.Module, lr: float, weight_decay: float, lr_factors: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Groups by name: weights decay; biases, norms and scales do not; some learn at another rate.

    Args:
        model: whose parameters are grouped, those that require a gradient. Those of a module that
            says `clip_apart`, and of all below it, are in groups of their own with `clip_apart`.
        lr: learning rate.
        weight_decay: of parameters named `…weight`, but for those of normalisation layers.
        lr_factors: by a part of a name: a factor on the learning rate. A parameter's own, such as
            `log_sigma`, is a group of its own, without decay and with `clip_apart`; a layer's, such
            as `out`, changes the rate of its parameters and nothing else.
    """
    factors: dict[str | None, float] = {None: 1.0} | {**lr_factors}
    groups: dict[tuple[str | None, bool, bool], dict[str, Any]] = {
        (name, decays, apart): {
            "weight_decay": weight_decay * decays, "lr": lr * factor, "params": [],
        }
        for apart in (False, True)
        for name, factor in factors.items()
        for decays in (True, False)
    }  # fmt: skip
    unused = set(lr_factors) - set(OF_LCC)  # which not every model has
    modules = dict(model.named_modules())
    aside = tuple(
        f"{name}." for name, part in modules.items() if getattr(part, "clip_apart", False)
    )
    seen: set[torch.nn.Parameter] = set()
    for owner_name, owner in modules.items():
        apart = f"{owner_name}.".startswith(aside)
        for name, parameter in owner.named_parameters(owner_name, recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)  # two modules may share it: the first one names it
                parts = name.split(".")
                factor = next((part for part in reversed(parts) if part in lr_factors), None)
                unused.discard(factor or "")
                alone = factor == parts[-1]
                decays = parts[-1].endswith("weight") and not type(owner).__name__.endswith(NORMS)
                group = groups[factor, decays and not alone, apart]
                group["params"].append(parameter)
                if alone or apart:
                    group["clip_apart"] = True
    if unused:
        log.warning("optimizer.lr_factors: no parameter is called %s", ", ".join(sorted(unused)))
    return [group for group in groups.values() if group["params"]]


def clip_gradients(optimizer: torch.optim.Optimizer, norm: float) -> None:
    """Clip the gradient's norm, that of each group with `clip_apart` on its own.

    A scalar such as LCC's temperature can have a larger gradient than all other parameters
    together, which clipped with it would hardly move.
    """
    groups = optimizer.param_groups
    together = [p for group in groups if not group.get("clip_apart") for p in group["params"]]
    apart = [group["params"] for group in groups if group.get("clip_apart")]
    for parameters in (together, *apart):
        torch.nn.utils.clip_grad_norm_(parameters, norm)


@dataclass(frozen=True)
class WarmupCosine:
    """The factor on the learning rate at a step: a line up to 1, then half a cosine down to 0.

    It stays at 1 where `total_steps` is None.
    """

    warmup_steps: int
    total_steps: int | None

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.total_steps is None:
            return 1.0
        progress = (step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1)
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


@dataclass(frozen=True)
class AdamW:
    """An `OptimizerFactory`.

    Args:
        lr: learning rate after the warm-up.
        weight_decay: of matrices and kernels.
        warmup_epochs: epochs of warm-up, at most half the training; cosine to the end after them.
        lr_factors: factors on the learning rate, see `parameter_groups`; by default σ and τ of
            LCC are named, so that they are clipped apart, and go as fast as the rest.
    """

    lr: float = 1e-4
    weight_decay: float = 1e-4
    warmup_epochs: float = 5
    lr_factors: Mapping[str, float] = field(
        default_factory=lambda: {"log_sigma": 1.0, "log_temperature": 1.0}
    )

    def __post_init__(self) -> None:
        for name in ("lr", "weight_decay", "warmup_epochs"):
            check_number(name, getattr(self, name), 0)
        for name, factor in self.lr_factors.items():
            check_number(f"lr_factors.{name}", factor, 0)

    def __call__(
        self, model: nn.Module, *, total_steps: int | None, steps_per_epoch: int
    ) -> tuple[torch.optim.Optimizer, LRScheduler]:
        groups = parameter_groups(model, self.lr, self.weight_decay, self.lr_factors)
        optimizer = torch.optim.AdamW(groups, lr=self.lr)
        warmup_steps = round(self.warmup_epochs * steps_per_epoch)
        if total_steps is None:
            log.warning("no epochs or steps end this training: its learning rate will not fall")
        else:
            warmup_steps = min(warmup_steps, total_steps // 2)
        schedule = WarmupCosine(warmup_steps, total_steps)
        # a function: the length of an object's schedule would be kept in checkpoints, and a run
        # that is resumed for more epochs would go on at a rate of 0
        return optimizer, LambdaLR(optimizer, lambda step: schedule(step))

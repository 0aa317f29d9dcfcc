"""How much an auxiliary loss pulls at a net, against the loss that counts; and to keep that steady.

Measured where both losses part: at the tensors that both are worked out from. The pull of a loss is
the norm of its gradient there, and the ratio of both norms says what no value of a loss says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from loco.errors import check_number
from loco.nn.processes import summed


class GradientBalance(nn.Module):
    """The weight w of an auxiliary loss from the ratio r of the gradients' norms: w = target / r̄.

    r is ‖∂ auxiliary‖ / ‖∂ main‖ of the unweighted auxiliary loss; r̄, its moving average, lives in
    a buffer, so that a resumed run goes on with it, and is that of the global batch, whatever the
    number of processes. A step's gradients are known after it, so its weight is from those before.

    Args:
        target: the ratio that the weighted loss is to have; None measures and changes no weight.
        momentum: of the moving average.
        until: part of the training after which the weight falls, on a line, to 0 at its end; 1 is
            never.

    Raises:
        ValueError: a setting out of its range.
    """

    ratio: Tensor

    def __init__(
        self, target: float | None = 0.25, *, momentum: float = 0.95, until: float = 0.667
    ) -> None:
        super().__init__()
        if target is not None:
            check_number("target", target, 0, without="low")
        check_number("momentum", momentum, 0, 1, without="high")
        check_number("until", until, 0, 1)
        self.target = target
        self.momentum = momentum
        self.until = until
        self.progress = 0.0
        self.register_buffer("ratio", torch.zeros(()))  # 0: nothing was measured yet

    def schedule(self, progress: float) -> None:
        """How much of the training is done, in [0, 1]; whoever trains says it before each step."""
        self.progress = progress

    def weight(self, given: float) -> Tensor:
        """w of this step; `given` until something was measured, and where there is no target."""
        weight = self.ratio.new_tensor(given)
        if self.target is None:
            return weight
        measured = self.target / self.ratio.clamp(min=torch.finfo(self.ratio.dtype).tiny)
        weight = torch.where(self.ratio > 0, measured, weight)
        left = 1.0 if self.until == 1 else min(1.0, (1 - self.progress) / (1 - self.until))
        return weight * max(left, 0.0)

    def watch(self, tensors: tuple[Tensor, ...], weight: Tensor) -> tuple[Tensor, ...]:
        """The same tensors for the auxiliary loss alone; r̄ moves on once their gradients are there.

        Args:
            tensors: what both losses are worked out from; the main one takes these themselves.
            weight: w, which the auxiliary loss is multiplied by in this step.
        """
        if not (self.training and torch.is_grad_enabled() and tensors[0].requires_grad):
            return tensors
        aside = tuple(tensor.view_as(tensor) for tensor in tensors)
        weight = weight.detach()

        def note(gradients: Any) -> None:
            if not any(part is None for part in gradients):
                self._note(gradients[: len(tensors)], gradients[len(tensors) :], weight)

        torch.autograd.graph.register_multi_grad_hook((*tensors, *aside), note)
        return aside

    @torch.no_grad()
    def _note(self, both: Sequence[Tensor], auxiliary: Sequence[Tensor], weight: Tensor) -> None:
        """Move r̄, given the gradients of the sum of both losses, and those of the second one."""
        squares = [
            torch.stack([part.to(self.ratio.dtype).square().sum() for part in parts]).sum()
            for parts in ([a - b for a, b in zip(both, auxiliary, strict=True)], auxiliary)
        ]
        main, pull = summed(torch.stack(squares)).sqrt()
        found = pull / (main * weight)
        moved = torch.where(self.ratio > 0, torch.lerp(found, self.ratio, self.momentum), found)
        usable = found.isfinite() & (found > 0)  # not where a weight has fallen to 0
        self.ratio.copy_(torch.where(usable, moved, self.ratio))

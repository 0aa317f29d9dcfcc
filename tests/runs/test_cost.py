"""What a measured training step computes in which precision."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from loco.runs.cost import random_batch, training_step
from loco.structures import TimeGrid


class Noted(torch.autograd.Function):
    """The identity, which notes whether its passes run under autocast."""

    seen: ClassVar[list[bool]] = []

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        Noted.seen.append(torch.is_autocast_enabled("cpu"))
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        Noted.seen.append(torch.is_autocast_enabled("cpu"))
        return gradients[0]


class Probe(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1)
        self.dtype = torch.float32

    def losses(self, batch: Any) -> dict[str, Tensor]:
        logits = self.linear(batch.visual)
        self.dtype = logits.dtype
        self.logits = logits.detach().float()
        return {"loss_cls": Noted.apply(logits.float().sum())}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_only_the_forward_pass_is_in_the_precision_and_reads_the_weights_of_the_step(
    precision: str,
) -> None:
    torch.manual_seed(0)
    model, batch = Probe(), random_batch(2, 8, 4, 4, TimeGrid(16, 16, 8))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    Noted.seen.clear()
    training_step(model, optimizer, batch, precision)
    before = model.logits
    training_step(model, optimizer, batch, precision)
    mixed = precision == "bf16-mixed"
    assert Noted.seen == [mixed, False] * 2
    assert model.dtype == (torch.bfloat16 if mixed else torch.float32)
    assert not torch.equal(model.logits, before)

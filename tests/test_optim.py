"""The schedule, and which parameters decay."""

import math

import pytest
import torch

from loco.models.loco import LoCo
from loco.optim import AdamW, WarmupCosine, parameter_groups


def test_warm_up_then_cosine() -> None:
    factor = WarmupCosine(warmup_steps=10, total_steps=110)
    assert [factor(step) for step in range(10)] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert factor(10) == 1
    assert factor(60) == pytest.approx(0.5)
    assert factor(85) == pytest.approx(0.5 * (1 + math.cos(0.75 * math.pi)))
    assert factor(110) == pytest.approx(0)
    assert factor(500) == pytest.approx(0)


def test_biases_norms_scales_sigma_and_temperature_do_not_decay() -> None:
    model = LoCo(4, 4, 2, dim=8, heads=2)
    decayed, free = (set(map(id, g["params"])) for g in parameter_groups(model, 0.1))
    names = {id(p): name for name, p in model.named_parameters()}
    assert decayed | free == set(names)
    for key in free:
        assert names[key].endswith(("bias", "norm.weight", "scale", "scales", "log_sigma",
                                    "temperature")) or "norms." in names[key]  # fmt: skip
    for key in decayed:
        assert names[key].endswith("weight")
        assert "norm" not in names[key]


def test_steps_of_a_short_training_are_half_warm_up_at_most() -> None:
    model = torch.nn.Linear(2, 2)
    optimizer, schedule = AdamW(lr=0.1, warmup_epochs=5)(model, total_steps=8, steps_per_epoch=2)
    rates = []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert max(rates) == pytest.approx(0.1)
    assert rates[-1] < 0.02

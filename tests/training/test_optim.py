"""The schedule, and which parameters decay."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

from loco.detectors.loco.detector import LoCo
from loco.training.module import LocalizationModule
from loco.training.optim import AdamW, WarmupCosine, clip_gradients, parameter_groups


def test_warm_up_then_cosine() -> None:
    factor = WarmupCosine(warmup_steps=10, total_steps=110)
    assert [factor(step) for step in range(10)] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert factor(10) == 1
    assert factor(60) == pytest.approx(0.5)
    assert factor(85) == pytest.approx(0.5 * (1 + math.cos(0.75 * math.pi)))
    assert factor(110) == pytest.approx(0)
    assert factor(500) == pytest.approx(0)


FACTORS = {"log_sigma": 10.0, "log_temperature": 5.0}


def test_biases_norms_scales_sigma_and_temperature_do_not_decay() -> None:
    model = LoCo(4, 4, 2, dim=8, heads=2)
    groups = parameter_groups(model, 1e-3, 0.1, FACTORS)
    named = {id(p): name for name, p in model.named_parameters()}
    names = [{named[id(p)] for p in group["params"]} for group in groups]
    decayed, free, sigma, temperature = names
    assert sum(map(len, names)) == len(set().union(*names)) == len(named)
    assert decayed == {n for n, p in model.named_parameters() if p.ndim >= 2}
    assert sigma == {"correspondence.target.log_sigma"}
    assert temperature == {"correspondence.log_temperature"}
    assert all("norm" in n or n.endswith(("bias", "scale", "scales")) for n in free)
    assert [group["weight_decay"] for group in groups] == [0.1, 0, 0, 0]
    assert [group["lr"] for group in groups] == pytest.approx([1e-3, 1e-3, 1e-2, 5e-3])


def test_a_factor_of_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    parameter_groups(torch.nn.Linear(2, 2), 1e-3, 0.1, {**FACTORS, "log_sgima": 3.0})
    assert "lr_factors: no parameter is called log_sgima" in caplog.text
    caplog.clear()
    parameter_groups(torch.nn.Linear(2, 2), 1e-3, 0.1, FACTORS)  # of LCC, which this is not
    assert not caplog.text


def test_a_factor_of_a_layer_is_one_of_its_parameters_rate_alone() -> None:
    """Weights of it decay as others do, and nothing of it is clipped apart."""
    model = torch.nn.ModuleDict({"slow": torch.nn.Linear(2, 2), "other": torch.nn.Linear(2, 2)})
    groups = parameter_groups(model, 1e-3, 0.1, {"slow": 0.1})
    named = {id(p): name for name, p in model.named_parameters()}
    found = [
        ([named[id(p)] for p in g["params"]], g["lr"], g["weight_decay"], "clip_apart" in g)
        for g in groups
    ]
    assert found == [
        (["other.weight"], 1e-3, 0.1, False),
        (["other.bias"], 1e-3, 0.0, False),
        (["slow.weight"], pytest.approx(1e-4), 0.1, False),
        (["slow.bias"], pytest.approx(1e-4), 0.0, False),
    ]


def test_a_shared_parameter_is_stepped_once() -> None:
    tied = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 3), "b": torch.nn.Linear(3, 3)})
    tied["b"].weight = tied["a"].weight
    groups = parameter_groups(tied, lr=0.1, weight_decay=0.0, lr_factors={})
    assert sum(len(group["params"]) for group in groups) == 3


def test_groups_without_parameters_are_left_out() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    model[0].bias.requires_grad_(False)
    decayed, free = parameter_groups(model, 1e-3, 0.1, FACTORS)
    assert len(decayed["params"]) == 1
    assert len(free["params"]) == 2  # the norm's weight and bias


def test_groups_apart_are_clipped_on_their_own() -> None:
    model = LoCo(4, 4, 2, dim=8, heads=2)
    optimizer, _ = AdamW()(model, total_steps=8, steps_per_epoch=2)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.01)
    model.correspondence.log_temperature.grad.fill_(1e4)
    before = torch.cat([p.grad.flatten() for p in optimizer.param_groups[0]["params"]])
    clip_gradients(optimizer, 1.0)
    assert model.correspondence.log_temperature.grad.item() == pytest.approx(1.0, rel=1e-4)
    assert model.correspondence.target.log_sigma.grad.item() == pytest.approx(0.01)
    after = torch.cat([p.grad.flatten() for p in optimizer.param_groups[0]["params"]])
    assert (after / before).min() > 0.5  # the huge one took nothing from the others


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


@pytest.mark.parametrize(
    ("lengths", "total", "warmup"),
    [
        ({"max_epochs": 6}, 24, 8),
        ({"max_epochs": -1, "max_steps": 40}, 40, 8),
        ({"max_epochs": 3, "max_steps": 40}, 12, 6),  # at most half of it
        ({"max_epochs": 6, "accumulate_grad_batches": 2}, 12, 4),
        ({"max_epochs": -1, "max_time": {"seconds": 3}}, None, 8),
        ({"max_epochs": 6, "max_time": {"minutes": 3}}, 24, 8),
    ],
)
def test_the_schedule_knows_how_long_a_training_is(
    lengths: dict[str, Any], total: int | None, warmup: int, tmp_path: Path
) -> None:
    """4 batches an epoch, 2 epochs of warm-up, whatever ends the training."""
    seen: list[Callable[[int], float]] = []

    class Stop(lightning.Callback):
        def on_train_start(self, trainer: lightning.Trainer, *args: Any) -> None:
            (schedule,) = trainer.lr_scheduler_configs[0].scheduler.lr_lambdas[:1]
            seen.append(schedule)
            trainer.should_stop = True

    class Quadratic(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(2, 2))

        def losses(self, batch: Any) -> dict[str, torch.Tensor]:
            return {"loss_cls": self.weight.square().sum()}

    module = LocalizationModule(Quadratic(), ["a"], optimizer=AdamW(warmup_epochs=2))
    trainer = lightning.Trainer(
        **lengths, accelerator="cpu", callbacks=[Stop()], logger=False, limit_val_batches=0,
        default_root_dir=tmp_path, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, min_steps=None,
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(torch.zeros(4, 1), batch_size=1))
    expected = WarmupCosine(warmup, total)
    for step in (0, 1, warmup - 1, warmup, warmup + 3, 1000):
        assert seen[0](step) == expected(step)

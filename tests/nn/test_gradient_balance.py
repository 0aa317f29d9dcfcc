"""The weight that follows the ratio of two losses' gradients, against these gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from loco.nn.gradient_balance import GradientBalance


def step(balance: GradientBalance, x: Tensor, scale: float, given: float = 0.1) -> float:
    """A step of 2·|x|² + w · scale · Σx, whose gradients at x are 4x and w · scale; w."""
    weight = balance.weight(given)
    leaf = x.clone().requires_grad_()
    shared = leaf * 1.0  # no leaf, as an encoder's output
    (aside,) = balance.watch((shared,), weight)
    (2 * shared.square().sum() + weight * scale * aside.sum()).backward()
    assert leaf.grad is not None
    assert torch.allclose(leaf.grad, 4 * x + weight * scale)
    return float(weight)


def test_the_ratio_is_that_of_the_gradients_norms_and_the_weight_follows() -> None:
    balance = GradientBalance(0.2, momentum=0.75, until=1)
    average = None
    for number in range(4):
        x = torch.linspace(1, 2 + number, 5)
        found = 3.0 * 5**0.5 / (4 * x).norm().item()
        expected = 0.1 if average is None else 0.2 / average
        assert step(balance, x, 3.0) == pytest.approx(expected)
        average = found if average is None else 0.75 * average + 0.25 * found
        assert balance.ratio.item() == pytest.approx(average)
    again = GradientBalance(0.2)
    again.load_state_dict(balance.state_dict())
    assert again.weight(0.1) == balance.weight(0.1)


def test_without_a_target_it_only_measures() -> None:
    balance = GradientBalance(None)
    for _ in range(2):
        assert step(balance, torch.ones(4), 2.0) == pytest.approx(0.1)
    assert balance.ratio.item() == pytest.approx(0.5)
    balance.schedule(1.0)
    assert balance.weight(0.1).item() == pytest.approx(0.1)


def test_the_weight_falls_to_nothing_at_the_end_and_the_average_stays() -> None:
    balance = GradientBalance(0.2, until=0.75)
    step(balance, torch.ones(4), 2.0)
    full = balance.weight(0.1).item()
    for progress, part in ((0.0, 1), (0.75, 1), (0.875, 0.5), (1.0, 0)):
        balance.schedule(progress)
        assert balance.weight(0.1).item() == pytest.approx(part * full)
    before = balance.ratio.clone()
    step(balance, torch.ones(4), 2.0)
    assert torch.equal(balance.ratio, before)


def test_nothing_is_measured_outside_of_training() -> None:
    balance = GradientBalance().eval()
    step(balance, torch.ones(4), 2.0)
    with torch.no_grad():
        balance.train().watch((torch.ones(2),), torch.ones(()))
    assert balance.ratio == 0


def test_bad_settings_are_refused() -> None:
    for bad in ({"target": 0.0}, {"momentum": 1.0}, {"until": 1.5}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            GradientBalance(**bad)  # type: ignore[arg-type]

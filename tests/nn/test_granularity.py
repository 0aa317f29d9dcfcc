"""Granularity: its formula by naive loops, what it sees of padding, and its place in a branch."""

from __future__ import annotations

import pytest
import torch

from loco.nn.blocks import BlockFactory
from loco.nn.granularity import Granularity
from loco.nn.layers import MaskedConv1d

D = 6


def make(**settings: float) -> Granularity:
    torch.manual_seed(0)
    made = Granularity(dim=D, **settings)  # type: ignore[arg-type]
    for parameter in made.parameters():  # biases too
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def convolved(conv: MaskedConv1d, h: torch.Tensor, t: int, d: int) -> float:
    """A depthwise convolution of one video (T, D) at one step and channel."""
    assert conv.bias is not None
    (size,) = conv.kernel_size
    total = conv.bias[d].item()
    for i in range(size):
        at = t + i - size // 2
        if 0 <= at < len(h):
            total += conv.weight[d, 0, i].item() * h[at, d].item()
    return total


def test_granularity_against_loops() -> None:
    mixing = make()
    assert mixing.wide_window.kernel_size == (7,)  # (3 + 1) · 1.5 = 6, made odd
    h = torch.randn(9, D)
    found = mixing(h[None], h[None], torch.ones(1, 9, dtype=torch.bool))[0]
    for t in range(9):
        for d in range(D):
            mean = h[:, d].mean().item()
            gate = mixing.instant_gate
            assert gate.bias is not None
            everywhere = max(gate.weight[d, 0, 0].item() * mean + gate.bias[d].item(), 0)
            instant = convolved(mixing.instant, h, t, d) * everywhere
            windows = convolved(mixing.window, h, t, d) + convolved(mixing.wide_window, h, t, d)
            expected = instant + windows * convolved(mixing.gate, h, t, d)
            assert found[t, d].item() == pytest.approx(expected, abs=1e-5)


def test_padding_and_context_are_never_seen() -> None:
    mixing = make(stride=2)
    x, mask = torch.randn(2, 11, D), torch.ones(2, 11, dtype=torch.bool)
    mask[1, 7:] = False
    dirty = x.masked_fill(~mask.unsqueeze(-1), float("nan"))
    found = mixing(dirty, torch.full_like(x, float("nan")), mask)
    assert found.shape == (2, 6, D)
    assert (found[1, 4:] == 0).all()
    alone = mixing(x[1:, :7], x[1:, :7], mask[1:, :7])
    assert torch.allclose(found[1:, :4], alone, atol=1e-6)


def test_a_branch_adds_to_its_stream() -> None:
    branch = BlockFactory(D, 2, layer_scale=0.5).mixing_branch(Granularity)
    x, mask = torch.randn(2, 8, D), torch.ones(2, 8, dtype=torch.bool)
    h = branch.norm(x)
    assert torch.allclose(branch(x, mask), x + 0.5 * branch.mixing(h, h, mask))
    with torch.no_grad():
        branch.scale.scale.zero_()
    assert torch.equal(branch(x, mask), x)


@pytest.mark.parametrize("wrong", [{"kernel": 2}, {"kernel": 0}, {"k": 0.0}, {"init_std": -1.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Granularity(dim=D, **wrong)  # type: ignore[arg-type]

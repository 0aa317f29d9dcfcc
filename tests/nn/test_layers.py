"""Layers: what they compute on real steps, and that padding does not reach it."""

import math

import pytest
import torch
from torch import nn

from loco.nn.layers import (
    FeedForward,
    MaskedConv1d,
    ScaledDropPath,
    masked_max_pool,
    sinusoid_positions,
)

LENGTHS = [1, 2, 7, 33]


def padded(x: torch.Tensor, extra: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A video with `extra` steps of NaN behind it, and the mask."""
    filler = x.new_full((1, extra, x.shape[2]), float("nan"))
    mask = torch.arange(x.shape[1] + extra) < x.shape[1]
    return torch.cat([x, filler], 1), mask.unsqueeze(0)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("stride", [1, 2])
def test_masked_conv_is_a_convolution_of_the_real_steps(length: int, stride: int) -> None:
    torch.manual_seed(0)
    conv = MaskedConv1d(3, 5, stride=stride).double()
    nn.init.normal_(conv.bias)
    x = torch.randn(1, length, 3, dtype=torch.float64)
    rows = torch.cat([x.new_zeros(1, 1, 3), x, x.new_zeros(1, 1, 3)], 1)[0]
    expected = torch.stack(
        [
            sum(conv.weight[:, :, k] @ rows[t + k] for k in range(3)) + conv.bias
            for t in range(0, length, stride)
        ]
    )
    out = conv(*padded(x, 4))[0]
    assert torch.allclose(out[: len(expected)], expected, atol=1e-12)
    assert out.isfinite().all()  # what reads it may multiply by 0


@pytest.mark.parametrize("length", LENGTHS)
def test_max_pool_sees_real_steps_only(length: int) -> None:
    torch.manual_seed(0)
    x = -torch.rand(1, length, 2) - 1  # all below 0, so that zeros in padding would win
    out = masked_max_pool(*padded(x, 5), stride=2)[0]
    for j, t in enumerate(range(0, length, 2)):
        expected = x[0, max(t - 1, 0) : t + 2].max(0).values
        assert torch.equal(out[j], expected)
    assert (out[math.ceil(length / 2) :] == 0).all()


def test_positions_are_sinusoids_of_the_absolute_step() -> None:
    like = torch.zeros(1, dtype=torch.float64)
    table = sinusoid_positions(50, 8, like)
    for t in (0, 3, 49):
        for i in range(4):
            angle = t / 10000 ** (2 * i / 8)
            assert table[t, 2 * i].item() == pytest.approx(math.sin(angle) / 8**0.5, abs=1e-5)
            assert table[t, 2 * i + 1].item() == pytest.approx(math.cos(angle) / 8**0.5, abs=1e-5)
    assert torch.equal(sinusoid_positions(9, 8, like), table[:9])
    assert sinusoid_positions(4, 7, like).shape == (4, 7)


def test_drop_path_skips_whole_videos_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    layer = ScaledDropPath(3, rate=0.25, scale=2.0)
    x = torch.ones(4000, 5, 3)
    out = layer(x)
    assert out.unique().tolist() == [0.0, pytest.approx(2 / 0.75)]
    assert (out.flatten(1).std(1) == 0).all()
    assert out.mean().item() == pytest.approx(2.0, rel=0.05)
    assert torch.equal(layer.eval()(x), 2 * x)
    with pytest.raises(ValueError, match="drop_path"):
        ScaledDropPath(3, rate=1.0, scale=1.0)


def test_feed_forward_works_on_each_step_alone() -> None:
    torch.manual_seed(0)
    layer = FeedForward(4).double()
    nn.init.normal_(layer.contract.bias)
    x = torch.randn(1, 3, 4, dtype=torch.float64)
    for t in range(3):
        hidden = nn.functional.gelu(layer.expand.weight @ x[0, t] + layer.expand.bias)
        expected = layer.contract.weight @ hidden + layer.contract.bias
        assert torch.allclose(layer(x)[0, t], expected, atol=1e-12)

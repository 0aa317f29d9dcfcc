"""The transformer block: its formula, and that padding reaches no real step."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from loco.nn.attention import FixedWindowAttention, GlobalAttention, NoAttention
from loco.nn.blocks import BlockFactory, TransformerBlock

FACTORY = BlockFactory(dim=8, heads=2, drop_path=0.0, layer_scale=0.5)
STRATEGIES = {
    "none": NoAttention,
    "global": GlobalAttention,
    "fixed": partial(FixedWindowAttention, window_size=4),
}


def made(stride: int = 1, attention: str = "global", context: bool = False) -> TransformerBlock:
    torch.manual_seed(0)
    block = FACTORY(stride=stride, attention=STRATEGIES[attention], context=context)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    return block.double().eval()


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_formula(stride: int, context: bool) -> None:
    block = made(stride, context=context)
    x, other = torch.randn(2, 2, 9, 8, dtype=torch.float64)
    mask = torch.ones(2, 9, dtype=torch.bool)
    pooled = torch.stack(
        [
            x[:, max(t - 1, 0) : t + 2].amax(1) if stride == 2 else x[:, t]
            for t in range(0, 9, stride)
        ],
        1,
    )
    normed = block.attention_norm(x)
    seen = block.context_norm(other) if context else normed  # type: ignore[misc]
    first = pooled + block.attention_scale.scale * block.attention(normed, seen, mask)
    fed = block.feed_forward(block.feed_forward_norm(first))
    expected = first + block.feed_forward_scale.scale * fed
    found = block(x, mask, other) if context else block(x, mask)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("given", [False, True])
def test_the_context_asks(given: bool) -> None:
    """Queries from the context, or from x under the context's norm; the rest is x's own."""
    torch.manual_seed(0)
    block = replace(FACTORY, asks="context")(stride=2)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, other = torch.randn(2, 2, 9, 8)
    mask = torch.ones(2, 9, dtype=torch.bool)
    assert block.context_norm is not None
    query, seen = block.context_norm(other if given else x), block.attention_norm(x)
    pooled = torch.stack([x[:, max(t - 1, 0) : t + 2].amax(1) for t in range(0, 9, 2)], 1)
    first = pooled + block.attention_scale.scale * block.attention(query, seen, mask)
    fed = block.feed_forward(block.feed_forward_norm(first))
    expected = first + block.feed_forward_scale.scale * fed
    found = block(x, mask, other) if given else block(x, mask)
    assert torch.allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("fill", [0.0, 1e6])
@pytest.mark.parametrize("attention", STRATEGIES)
@pytest.mark.parametrize("stride", [1, 2])
def test_what_stands_in_padding_changes_no_real_step(
    stride: int, attention: str, fill: float
) -> None:
    block = made(stride, attention, context=True)
    x, context = torch.randn(2, 1, 7, 8, dtype=torch.float64)
    alone = block(x, torch.ones(1, 7, dtype=torch.bool), context)

    def padded(y: Tensor) -> Tensor:
        return torch.cat([y, torch.full((1, 6, 8), fill, dtype=torch.float64)], 1)

    mask = (torch.arange(13) < 7).unsqueeze(0)
    together = block(padded(x), mask, padded(context))
    assert together.isfinite().all()
    steps = alone.shape[1]
    assert torch.allclose(together[:, :steps], alone, rtol=0, atol=1e-9)


def test_without_attention_there_is_no_branch() -> None:
    block = made(attention="none")
    assert not [name for name, _ in block.named_parameters() if "attention" in name]


class Sum(nn.Module):
    """An attention of a user's own, which says nothing of `attends`."""

    def __init__(self, *, dim: int, heads: int, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        return (x + context)[:, :: self.stride]


def test_any_module_of_the_form_is_an_attention() -> None:
    block = BlockFactory(dim=8, heads=2)(stride=2, attention=Sum, context=True)
    x = torch.randn(1, 5, 8)
    mask = torch.ones(1, 5, dtype=torch.bool)
    assert block.attends
    assert block(x, mask, x).shape == (1, 3, 8)

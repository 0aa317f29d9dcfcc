"""Attention strategies: naive loops from the paper's text, and what must hold between them."""

import math
import resource
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from loco.detectors.loco.cdp import CrossModalDynamicPerception
from loco.nn.attention import (
    Attention,
    FixedWindowAttention,
    GlobalAttention,
    NoAttention,
    sliding_window_attention,
)
from loco.nn.sampling import interpolate

DIM, HEADS = 8, 2
STRATEGIES = {
    "none": NoAttention,
    "global": GlobalAttention,
    "fixed": partial(FixedWindowAttention, window_size=4),
    "cdp": partial(CrossModalDynamicPerception, window_size=4),
}
LENGTHS = [1, 7, 33, 1000]


def make(name: str, stride: int = 1, adapted: bool = True, **kwargs: int) -> torch.nn.Module:
    """A strategy with random weights, in float64; CDP's adaptation random too where `adapted`."""
    torch.manual_seed(1)
    module = STRATEGIES[name](dim=DIM, heads=HEADS, stride=stride, **kwargs).double().eval()
    if isinstance(module, CrossModalDynamicPerception) and adapted:
        torch.nn.init.normal_(module.adaptation.weight, std=0.5)
        torch.nn.init.normal_(module.adaptation.bias, std=0.5)
    return module


def streams(batch: int, length: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, length, DIM)
    x, context = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return x, context


def naive_attention(query: Tensor, key: Tensor, value: Tensor, seen: list[int]) -> Tensor:
    """softmax(q·k/√d)·v of one query (d,) over the keys (T, d) at `seen`; none gives 0."""
    if not seen:
        return torch.zeros_like(query)
    scores = [math.exp(float((query @ key[j]).detach()) / len(query) ** 0.5) for j in seen]
    weights = torch.tensor(scores, dtype=query.dtype)
    return sum(w * value[j] for w, j in zip(weights / weights.sum(), seen, strict=True))


@pytest.mark.parametrize("length", [1, 2, 7, 33])
@pytest.mark.parametrize("radius", [0, 1, 2, 5, 40])
def test_sliding_window_against_a_loop(length: int, radius: int) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, HEADS, length, 3, dtype=torch.float64) for _ in range(3))
    visible = torch.rand(2, HEADS, length) < 0.7
    out = sliding_window_attention(query, key, value, visible, radius)
    for b in range(2):
        for h in range(HEADS):
            for t in range(length):
                seen = [j for j in range(length) if abs(j - t) <= radius and visible[b, h, j]]
                expected = naive_attention(query[b, h, t], key[b, h], value[b, h], seen)
                assert torch.allclose(out[b, h, t], expected, atol=1e-11)


def test_interpolation_against_a_loop() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 9, 4, dtype=torch.float64)
    last = torch.tensor([8, 4])[:, None, None]
    points = torch.rand(2, 3, 9, dtype=torch.float64) * last
    points[:, :, 0] = 0
    points[:, :, 1] = last[:, :, 0]
    out = interpolate(x, points, last)
    for b, h, t in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(9)):
        p = float(points[b, h, t])
        low = math.floor(p)
        high = min(low + 1, int(last[b]))
        expected = (1 - (p - low)) * x[b, h, low] + (p - low) * x[b, h, high]
        assert torch.allclose(out[b, h, t], expected, atol=1e-12)


@pytest.mark.parametrize(("length", "real"), [(1, 1), (7, 7), (7, 3), (33, 33), (33, 18)])
@pytest.mark.parametrize("window", [1, 3, 4, 8])
def test_cdp_against_loops_from_the_text(length: int, real: int, window: int) -> None:
    """Eq. 7 and 8 with loops over base windows, heads, slots and queries."""
    module = make("cdp", window_size=window)
    assert isinstance(module, CrossModalDynamicPerception)
    x, context = streams(1, length)
    mask = (torch.arange(length) < real).unsqueeze(0)
    features = module.key.features(context, mask)[0]
    query, key, value = (
        module.split_heads(projection(stream, mask))[0]
        for projection, stream in (
            (module.query, x),
            (module.key, context),
            (module.value, context),
        )
    )
    sampled_key, sampled_value = torch.zeros_like(key), torch.zeros_like(value)
    there = torch.zeros(HEADS, length, dtype=torch.bool)
    for i in range(math.ceil(real / window)):
        inside = range(i * window, min((i + 1) * window, real))
        pooled = sum(features[j] for j in inside) / len(inside)
        activated = torch.where(pooled > 0, pooled, 0.01 * pooled)
        adapted = module.adaptation.weight @ activated + module.adaptation.bias
        for h in range(HEADS):
            size, offset = adapted[h].item(), adapted[HEADS + h].item()
            centre = i * window + (window - 1) / 2
            for k in range(window):
                slot = i * window + k
                point = centre + offset * window + (1 + size) * (k - (window - 1) / 2)
                if slot >= real or not 0 <= point <= real - 1:
                    continue
                low, high = math.floor(point), math.ceil(point)
                there[h, slot] = True
                for sampled, rows in ((sampled_key, key), (sampled_value, value)):
                    sampled[h, slot] = rows[h, low] + (point - low) * (rows[h, high] - rows[h, low])
    out = module(x, context, mask)[0]
    for t in range(real):
        heads = []
        for h in range(HEADS):
            seen = [j for j in range(real) if abs(j - t) <= window // 2 and there[h, j]]
            heads.append(naive_attention(query[h, t], sampled_key[h], sampled_value[h], seen))
        expected = module.out(torch.cat(heads))
        assert torch.allclose(out[t], expected, atol=1e-11)
    assert (out[real:] == 0).all()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("length", LENGTHS)
def test_cdp_without_adaptation_is_fixed(length: int, stride: int) -> None:
    cdp, fixed = make("cdp", stride, adapted=False), make("fixed", stride)
    fixed.load_state_dict({k: v for k, v in cdp.state_dict().items() if "adaptation" not in k})
    x, context = streams(2, length)
    mask = torch.arange(length) < torch.tensor([[length], [max(length // 2, 1)]])
    assert torch.allclose(cdp(x, context, mask), fixed(x, context, mask), rtol=0, atol=1e-9)
    x, context = x.float(), context.float()
    assert torch.allclose(
        cdp.float()(x, context, mask), fixed.float()(x, context, mask), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("length", [1, 7, 33, 100])
def test_a_wide_fixed_window_is_global(length: int, stride: int) -> None:
    fixed, everything = make("fixed", stride, window_size=2 * length), make("global", stride)
    everything.load_state_dict(fixed.state_dict())
    x, context = streams(2, length)
    mask = torch.arange(length) < torch.tensor([[length], [max(length // 2, 1)]])
    assert torch.allclose(fixed(x, context, mask), everything(x, context, mask), atol=1e-9)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", STRATEGIES)
def test_padding_changes_nothing(name: str, length: int, stride: int) -> None:
    module = make(name, stride)
    x, context = streams(1, length)
    alone = module(x, context, torch.ones(1, length, dtype=torch.bool))
    assert alone.shape == (1, math.ceil(length / stride), DIM)
    assert alone.isfinite().all()
    nothing = x.new_full((1, 9, DIM), float("nan"))
    mask = (torch.arange(length + 9) < length).unsqueeze(0)
    longer = module(torch.cat([x, nothing], 1), torch.cat([context, nothing], 1), mask)
    assert torch.allclose(longer[:, : alone.shape[1]], alone, rtol=0, atol=1e-9)
    assert (longer[:, alone.shape[1] :] == 0).all()


@pytest.mark.parametrize("radius", [1, 5])
def test_nothing_visible_gives_zero(radius: int) -> None:
    """Radius 5 is every step, so what `global` does."""
    query = torch.randn(1, 1, 5, 4, requires_grad=True)
    visible = torch.zeros(1, 1, 5, dtype=torch.bool)
    out = sliding_window_attention(query, query, query, visible, radius)
    assert (out == 0).all()
    out.sum().backward()
    assert query.grad is not None
    assert query.grad.isfinite().all()


def test_far_windows_are_masked() -> None:
    """Windows that have moved out of the video leave the output projection's bias alone."""
    module = make("cdp")
    assert isinstance(module, Attention)
    torch.nn.init.constant_(module.adaptation.bias, 100.0)
    x, context = streams(1, 12)
    out = module(x, context, torch.ones(1, 12, dtype=torch.bool))
    assert torch.equal(out, module.out.bias.expand_as(out))


@pytest.mark.parametrize("name", ["fixed", "cdp"])
def test_local_strategies_make_no_tensor_of_t_by_t(name: str) -> None:
    length = 2000
    module = make(name)
    x, context = streams(1, length)
    mask = torch.ones(1, length, dtype=torch.bool)

    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, tuple | list) else [out]:
                if isinstance(tensor, Tensor):
                    Largest.numel = max(Largest.numel, tensor.untyped_storage().size() // 8)
            return out

    with Largest():
        module(x, context, mask)
    assert Largest.numel <= 100 * length


def test_global_attention_keeps_no_table_of_t_by_t() -> None:
    """Nor a mask of that size: 20,000 steps would take 1.6 GB for the scores alone."""
    length = 20_000
    module = make("global").float()
    x, context = (stream.float() for stream in streams(1, length))
    mask = torch.arange(length).unsqueeze(0) < length - 1
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with torch.no_grad():
        module(x, context, mask)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024  # KB


def test_gradients_reach_the_window_adaptation_from_its_start() -> None:
    module = make("cdp", adapted=False)
    assert isinstance(module, CrossModalDynamicPerception)
    x, context = streams(2, 21)
    module(x, context, torch.ones(2, 21, dtype=torch.bool)).square().sum().backward()
    assert module.adaptation.bias.grad is not None
    assert (module.adaptation.bias.grad != 0).all()
    assert module.adaptation.weight.grad.abs().sum() > 0


def test_window_adaptation_gradients_are_right() -> None:
    module = make("cdp")
    x, context = streams(1, 11)
    mask = torch.ones(1, 11, dtype=torch.bool)

    def out(bias: Tensor) -> Tensor:
        return torch.func.functional_call(module, {"adaptation.bias": bias}, (x, context, mask))

    bias = module.adaptation.bias.detach().requires_grad_()
    assert torch.autograd.gradcheck(out, (bias,), eps=1e-7, atol=1e-5)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="window_size"):
        FixedWindowAttention(dim=8, heads=2, window_size=0)
    with pytest.raises(ValueError, match="multiple of heads"):
        GlobalAttention(dim=8, heads=3)


def test_target_windows_are_float32_under_autocast() -> None:
    """A place rounded to bfloat16 would be up to a step away from where it should be."""
    cdp = make("cdp").float()
    assert isinstance(cdp, CrossModalDynamicPerception)
    _, context = streams(1, 33)
    mask = torch.ones(1, 33, dtype=torch.bool)
    expected = cdp.adapt_windows(context.float(), mask)
    with torch.autocast("cpu", torch.bfloat16):
        found = cdp.adapt_windows(context.float(), mask)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)

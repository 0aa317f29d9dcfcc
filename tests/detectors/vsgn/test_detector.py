"""The whole of it: invariances in a batch, any length, any number of events, gradients, costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from batches import double, events_of, make_batch, single, total
from loco.detectors.vsgn.anchors import assign, overlaps
from loco.detectors.vsgn.detector import VSGN
from loco.detectors.vsgn.graph import GraphLayer, neighbours
from loco.detectors.vsgn.losses import BoxLoss
from loco.detectors.vsgn.stitching import SelfStitch, Targets


def small(**settings: object) -> VSGN:
    torch.manual_seed(0)
    settings = {"dim": 16, "length": 64, "num_levels": 3, "neighbours": 4, "head_convs": 1,
                "stitch": SelfStitch(gap=2)} | settings  # fmt: skip
    return VSGN(6, 5, 3, **settings)


LENGTHS = [60, 33, 1, 7, 100]
TRUTH = [
    events_of((0.5, 3.0, 0), (1.0, 6.0, 2), (1.0, 6.0, 1)), events_of((0.0, 11.2, 1)),
    events_of(), events_of((0.1, 1.0, 2)), events_of((3.0, 6.0, 1), (10, 30, 2)),
]  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("fill", [1e4, float("nan")])
def test_a_video_alone_is_the_same_in_a_batch(fill: float) -> None:
    model = small().double().eval()
    batch = double(make_batch(LENGTHS, fill=fill))
    together = model(batch.visual, batch.audio, batch.mask)
    for b in range(len(LENGTHS)):
        one = single(batch, b)
        alone = model(one.visual, one.audio, one.mask)
        for ours, other in zip(together, alone, strict=True):
            assert torch.allclose(ours[b], other[0], rtol=0, atol=1e-9)


def test_losses_do_not_depend_on_padding() -> None:
    values, gradients = [], []
    for fill in (0.0, float("nan")):
        model = small().train()
        torch.manual_seed(0)  # the same clips
        losses = model.losses(make_batch(LENGTHS, TRUTH, fill))
        total(losses).backward()
        values.append(total(losses).item())
        gradients.append([p.grad for p in model.parameters()])
    assert values[0] == values[1] > 0
    for clean, dirty in zip(*gradients, strict=True):
        assert torch.equal(clean, dirty)


@pytest.mark.parametrize("classification", ["softmax", "sigmoid"])
def test_gradients_reach_every_parameter(classification: str) -> None:
    model = small(criterion=BoxLoss(classification=classification)).train()
    total(model.losses(make_batch(LENGTHS, TRUTH))).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("length", [1, 7, 33, 64, 1000])
def test_any_length(length: int) -> None:
    model = small().eval()
    batch = make_batch([length])
    (events,) = model.detect(batch)
    assert 0 < len(events) <= 100
    assert (events.scores.diff() <= 0).all()
    assert (events.segments >= 0).all()
    assert (events.segments <= batch.durations[0]).all()
    assert (events.segments[:, 0] < events.segments[:, 1]).all()


def test_few_and_many_events() -> None:
    model = small().train()
    none = model.losses(make_batch([9, 40]))
    assert none["loss_reg"] == none["loss_adjusted"] == 0
    assert none["loss_cls"] > 0
    total(none).backward()
    batch = make_batch([60, 60, 20])
    many = events_of(*[(0.5 * i, 0.5 * i + 2, i % 3) for i in range(23)])
    whole = [events_of((0.0, float(batch.durations[b]), 2)) for b in (1, 2)]
    for model.criterion in (BoxLoss(), BoxLoss(classification="softmax", frame_weight=0.5)):
        assert total(model.losses(replace(batch, events=[many, *whole]))).isfinite()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_leaves_what_is_read_in_float32(dtype: torch.dtype) -> None:
    model = small().train()
    batch = make_batch(LENGTHS, TRUTH)
    with torch.autocast("cpu", dtype):
        outputs = model(batch.visual, batch.audio, batch.mask)
        losses = model.losses(batch)
        model.eval().detect(batch)
    assert all(value.dtype == torch.float32 for value in [*outputs, *losses.values()])
    assert total(losses).isfinite()
    total(losses).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_every_weight_reaches_the_total() -> None:
    batch, model = make_batch(LENGTHS, TRUTH), small().eval()
    plain = model.losses(batch)
    for name, parts in [("class", {"cls"}), ("box", {"reg"}), ("adjusted", {"adjusted"}),
                        ("frame", {"action", "start", "end"})]:  # fmt: skip
        weight = getattr(BoxLoss(), f"{name}_weight")
        model.criterion = BoxLoss(**{f"{name}_weight": 3 * weight})
        changed = model.losses(batch)
        assert changed.keys() == plain.keys()
        for key, value in changed.items():
            factor = 3 if key.removeprefix("loss_") in parts else 1
            assert value.item() == pytest.approx(factor * plain[key].item(), rel=1e-4), (name, key)
            assert value > 0


def test_clips_are_for_training_alone() -> None:
    batch, model = make_batch([60, 33], TRUTH[:2]), small()
    rows = []
    model.pyramid.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    model.train().losses(batch)
    model.eval().losses(batch)
    model.detect(batch)
    assert rows == [3, 2, 2]


@torch.no_grad()
def test_neighbours_by_loops() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 12, 3)
    allowed = torch.tensor([[True] * 9 + [False] * 3])
    right = torch.arange(12)[None] >= 5
    found = neighbours(x, allowed, right, 6)[0]
    distance = (x[0, :, None] - x[0]).square().sum(-1)
    for node in range(12):
        order = distance[node].argsort().tolist()
        real = [j for j in order if allowed[0, j] or j == node]
        expected = real[:3]
        others = [j for j in real[3:] if node < 5 or j < 5]
        expected += others[:3]
        assert set(found[node].tolist()) == {node, *expected}
    layer = GraphLayer(3, 6)
    messages = torch.stack([
        torch.stack([layer.message(torch.cat([x[0, j], x[0, i]])) for j in found[i]]).amax(0)
        for i in range(12)
    ])  # fmt: skip
    whole = (layer.conv(x.mT)[0].T + messages).relu().view(6, 2, 3).amax(1)
    assert torch.allclose(layer(x, allowed, right)[0], whole, atol=1e-5)


def test_an_event_that_no_box_touches_forces_none() -> None:
    boxes = torch.tensor([[0.0, 4.0], [10.0, 14.0]])
    targets = Targets(
        torch.tensor([[[50.0, 60.0], [0.0, 10.0]]]), torch.zeros(1, 2).long(),
        torch.ones(1, 2, dtype=torch.bool),
    )  # fmt: skip
    assert assign(overlaps(boxes, targets), 0.5).tolist() == [[1, -1]]


@pytest.mark.parametrize(
    ("channels", "settings", "parameters", "multiply_accumulates"),
    [
        (2176, {}, 8.595e6, 1.995e9),
        (3072, {}, 9.283e6, 2.171e9),
        (2176, {"stem_stride": 2, "neighbours": 8, "scales": (1, 1.5)}, 8.595e6, 0.933e9),
        (3072, {"stem_stride": 2, "neighbours": 8, "scales": (1, 1.5)}, 9.283e6, 1.021e9),
        (2176, {"stem_stride": 2, "neighbours": 0, "scales": (1, 1.5)}, 7.938e6, 0.648e9),
    ],
)
def test_published_size(
    channels: int, settings: dict[str, int], parameters: float, multiply_accumulates: float
) -> None:
    """Theirs computes a message for each edge; distances between nodes are not in the figure."""
    model = VSGN(channels - 128, 128, 100, **settings).eval()
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, abs=500)
    inputs = torch.zeros(1, 224, channels - 128), torch.zeros(1, 224, 128)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs, torch.ones(1, 224, dtype=torch.bool))
    ours = counter.get_total_flops() / 2
    count = settings.get("neighbours", 10)
    for level in range(5 if count else 0):
        nodes = 256 // settings.get("stem_stride", 1) // 2**level
        ours += nodes * (min(count, nodes) - 1) * 2 * 256**2 - nodes**2 * 256
    assert ours == pytest.approx(multiply_accumulates, rel=0.001)


@pytest.mark.parametrize(
    "wrong",
    [
        {"length": 100},
        {"scales": ()},
        {"neighbours": -1},
        {"num_levels": 0},
        {"stitch": SelfStitch(gap=60)},
        {
            "length": 64,
            "stitch": SelfStitch(short=0.5, gap=31),
        },  # leaves one frame, which has no scale
    ],
)
def test_wrong_sizes_are_told(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="gap" if "stitch" in wrong else next(iter(wrong))):
        small(**wrong)

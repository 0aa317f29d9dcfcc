"""The whole of it: invariances in a batch, any length, any number of events, gradients, costs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hydra.utils import instantiate
from torch.utils.flop_counter import FlopCounterMode

from batches import double, events_of, make_batch, single, total
from helpers import compose_config
from loco.detectors.tadtr.actionness import align
from loco.detectors.tadtr.decoding import SetDecoding
from loco.detectors.tadtr.deformable import DeformableAttention
from loco.detectors.tadtr.detector import TadTR
from loco.detectors.tadtr.losses import SetLoss
from loco.detectors.tadtr.matching import Matcher


def small(**settings: object) -> TadTR:
    """A narrow one whose heads do not stand at their start, where much has no gradient yet."""
    torch.manual_seed(0)
    settings = {"dim": 16, "heads": 4, "encoder_layers": 2, "decoder_layers": 2, "feed_forward": 24,
                "num_queries": 6} | settings  # fmt: skip
    model = TadTR(6, 5, 3, **settings)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


TRUTH = [events_of((0.5, 3.0, 0), (1.0, 6.0, 2), (1.0, 6.0, 1)), events_of(), events_of((0, 2, 1))]


@torch.no_grad()
@pytest.mark.parametrize("fill", [1e4, float("nan")])
def test_a_video_alone_is_the_same_in_a_batch(fill: float) -> None:
    model = small().double().eval()
    lengths = [33, 1, 7, 20]
    batch = double(make_batch(lengths, fill=fill))
    together = model(batch.visual, batch.audio, batch.mask)
    for b in range(len(lengths)):
        one = single(batch, b)
        alone = model(one.visual, one.audio, one.mask)
        for ours, other in zip(together[:2], alone[:2], strict=True):
            assert torch.allclose(ours[:, b], other[:, 0], rtol=0, atol=1e-9)
        assert torch.allclose(together.actionness[b], alone.actionness[0], rtol=0, atol=1e-9)


def test_losses_do_not_depend_on_padding() -> None:
    values, gradients = [], []
    for fill in (0.0, float("nan")):
        model = small().train()
        torch.manual_seed(0)  # the same dropout
        losses = model.losses(make_batch([33, 1, 7], TRUTH, fill))
        total(losses).backward()
        values.append(total(losses).item())
        gradients.append([p.grad for p in model.parameters()])
    assert values[0] == values[1] > 0
    for clean, dirty in zip(*gradients, strict=True):
        assert torch.equal(clean, dirty)


def test_gradients_reach_every_parameter() -> None:
    model = small(dropout=0.0).train()
    total(model.losses(make_batch([33, 1, 7], TRUTH))).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("length", [1, 7, 33, 1000])
def test_any_length(length: int) -> None:
    model = small().eval()
    batch = make_batch([length])
    (events,) = model.detect(batch)
    assert len(events) == 18
    assert (events.scores.diff() <= 0).all()
    assert (events.segments >= 0).all()
    assert (events.segments <= batch.durations[0]).all()
    assert (events.segments[:, 0] <= events.segments[:, 1]).all()


def test_few_and_many_events() -> None:
    model = small(num_queries=5).train()
    none = model.losses(make_batch([9, 4]))
    assert none["loss_distance"] == none["loss_iou"] == 0
    assert none["loss_cls"] > 0
    assert none["loss_actionness"] > 0
    total(none).backward()
    batch = make_batch([40, 40])
    many = events_of(*[(0.1 * i, 0.1 * i + 2, i % 3) for i in range(23)])
    whole = events_of((0.0, float(batch.durations[0]), 2))
    losses = model.losses(replace(batch, events=[many, whole]))
    assert total(losses).isfinite()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_leaves_what_is_read_in_float32(dtype: torch.dtype) -> None:
    model = small().train()
    batch = make_batch([33, 7, 5], TRUTH)
    with torch.autocast("cpu", dtype):
        outputs = model(batch.visual, batch.audio, batch.mask)
        losses = model.losses(batch)
        model.detect(batch)
    assert all(value.dtype == torch.float32 for value in [*outputs, *losses.values()])
    assert total(losses).isfinite()
    total(losses).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_every_weight_reaches_the_total() -> None:
    batch = make_batch([33, 1, 7], TRUTH)
    model = small().eval()
    plain = model.losses(batch)
    for name, loss in [("class", "cls"), ("distance", "distance"), ("iou", "iou"),
                       ("actionness", "actionness")]:  # fmt: skip
        weight = getattr(model.criterion, f"{name}_weight")
        model.criterion = SetLoss(**{f"{name}_weight": 3 * weight})
        changed = model.losses(batch)
        assert changed[f"loss_{loss}"].item() == pytest.approx(3 * plain[f"loss_{loss}"].item())
        rest = total(plain) - plain[f"loss_{loss}"]
        assert (total(changed) - changed[f"loss_{loss}"]).item() == pytest.approx(rest.item())


def test_without_actionness() -> None:
    model = small(actionness=False).eval()
    batch = make_batch([9, 4])
    assert model(batch.visual, batch.audio, batch.mask).actionness is None
    assert "loss_actionness" not in model.losses(batch)
    assert model.detect(batch)[0].scores.max() <= 1


def test_suppression_is_a_choice() -> None:
    model, batch = small().eval(), make_batch([33])
    for kind in ("soft", "hard"):
        model.decoding = SetDecoding(nms=kind)
        (events,) = model.detect(batch)
        assert 0 < len(events) <= 18
        assert (events.scores.diff() <= 0).all()


@torch.no_grad()
def test_deformable_attention_by_loops() -> None:
    torch.manual_seed(0)
    attention = DeformableAttention(8, 2, 3).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    query, memory = torch.randn(1, 4, 8).double(), torch.randn(1, 6, 8).double()
    mask = torch.tensor([[True] * 5 + [False]])
    reference = torch.tensor([[[0.5, 2.0], [2.5, 4.0], [6.0, 1.0], [-3.0, 9.0]]]).double()
    ours = attention(query, reference, memory, mask)
    value = attention.value(memory)
    offsets = attention.sampling_offsets(query).view(4, 2, 3)
    weights = attention.attention_weights(query).view(4, 2, 3).softmax(-1)
    read = torch.zeros(4, 8).double()
    for q in range(4):
        centre, width = reference[0, q].tolist()
        for head in range(2):
            for p in range(3):
                at = centre + float(offsets[q, head, p]) / 3 * width / 2
                for step in range(5):  # a triangle around each real step's centre
                    share = max(0.0, 1 - abs(at - (step + 0.5)))
                    channels = slice(4 * head, 4 * head + 4)
                    read[q, channels] += weights[q, head, p] * share * value[0, step, channels]
    assert torch.allclose(ours[0], attention.out(read), atol=1e-12)


def test_align_by_loops() -> None:
    torch.manual_seed(0)
    x, count = torch.randn(1, 50, 2).double(), torch.tensor([45])
    region = torch.tensor([[[0.0, 45.0], [3.3, 3.4], [45.0, 45.0], [10.0, 30.5]]]).double()
    ours = align(x, count, region, 4)
    for q, (start, end) in enumerate(region[0].tolist()):
        length = max(end - start, 1.0)
        samples = math.ceil(length / 4)
        for place in range(4):
            mean = torch.zeros(2).double()
            for nth in range(samples):
                at = start + (place + (nth + 0.5) / samples) * length / 4
                if at > 45:
                    continue
                low = min(int(at), 44)
                high, share = min(low + 1, 44), min(at, 44.0) - low
                mean += ((1 - share) * x[0, low] + share * x[0, high]) / samples
            assert torch.allclose(ours[0, q, place], mean, atol=1e-12)


@pytest.mark.parametrize(
    ("channels", "steps", "parameters", "multiply_accumulates"),
    [(2176, 224, 8.777e6, 1.018e9), (3072, 256, 9.006e6, 1.189e9)],
)
def test_published_size(
    channels: int, steps: int, parameters: float, multiply_accumulates: float
) -> None:
    model = TadTR(channels - 128, 128, 100).eval()
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, abs=500)
    inputs = torch.zeros(1, steps, channels - 128), torch.zeros(1, steps, 128)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs, torch.ones(1, steps, dtype=torch.bool))
    twice = 4 * 40 * (2 * 256 * 256 + 2 * 256)  # theirs asks the heads of segments twice
    ours = counter.get_total_flops() / 2 + twice
    assert ours == pytest.approx(multiply_accumulates, rel=0.005)


def test_the_recipe_has_the_published_factors() -> None:
    config = compose_config("train", ["model=tadtr", "output_dir=x"])
    model = TadTR(4, 3, 2)
    optimizer, _ = instantiate(config.optimizer)(model, total_steps=4, steps_per_epoch=2)
    slow = {id(p) for g in optimizer.param_groups for p in g["params"]
            if g["initial_lr"] == pytest.approx(2e-5)}  # fmt: skip
    named = {n for n, p in model.named_parameters() if id(p) in slow}
    assert named == {n for n, _ in model.named_parameters() if "sampling_offsets" in n
                     or "reference_points" in n}  # fmt: skip
    assert config.trainer.gradient_clip_val == 0.1


@pytest.mark.parametrize(
    "wrong",
    [{"heads": 3}, {"num_queries": 0}, {"decoder_layers": 0}, {"dropout": 1.0},
     {"encoder_points": 0}],
)  # fmt: skip
def test_wrong_sizes_are_told(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[-1]):
        small(**wrong)
    with pytest.raises(ValueError, match="iou_weight"):
        Matcher(iou_weight=-1)

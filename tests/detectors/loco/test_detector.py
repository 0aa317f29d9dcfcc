"""The whole detector: invariances in a batch, any length, and gradients where they must arrive."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from batches import events_of, make_batch, single, total
from loco.detection.assignment import RangeAssigner
from loco.detection.losses import DetectionLoss
from loco.detectors.loco.cdp import CrossModalDynamicPerception
from loco.detectors.loco.correspondence import (
    CorrespondenceLoss,
    DiagonalTarget,
    GaussianTarget,
    NoCorrespondence,
    SoftenedTarget,
)
from loco.detectors.loco.decoder import Decoder
from loco.detectors.loco.detector import LoCo
from loco.nn.attention import FixedWindowAttention, GlobalAttention, NoAttention, global_attention
from loco.nn.fusion import JointEmbedding
from loco.nn.pyramid import JointPyramid
from loco.runs.cost import operations

STRATEGIES = {
    "none": NoAttention,
    "global": GlobalAttention,
    "fixed": partial(FixedWindowAttention, window_size=4),
    "cdp": partial(CrossModalDynamicPerception, window_size=4),
}
CORRESPONDENCES = {
    "none": NoCorrespondence,
    "diagonal": partial(CorrespondenceLoss, target=DiagonalTarget()),
    "softened": partial(CorrespondenceLoss, target=SoftenedTarget()),
    "fixed_gaussian": partial(CorrespondenceLoss, target=GaussianTarget(learnable=False)),
    "learnable_gaussian": CorrespondenceLoss,
}


def small(attention: str = "cdp", correspondence: str = "learnable_gaussian") -> LoCo:
    """A narrow LoCo whose window adaptation is not at its start."""
    torch.manual_seed(0)
    model = LoCo(
        6,
        5,
        3,
        dim=16,
        heads=2,
        encoder_blocks=1,
        decoder_blocks=1,
        layer_scale=0.5,
        attention=STRATEGIES[attention],
        correspondence=CORRESPONDENCES[correspondence],
        criterion=DetectionLoss(normalizer=10.0),
    )
    for module in model.modules():
        if isinstance(module, CrossModalDynamicPerception):
            torch.nn.init.normal_(module.adaptation.weight, std=0.2)
            torch.nn.init.normal_(module.adaptation.bias, std=0.2)
    return model


@pytest.mark.parametrize("fill", [0.0, 1e4, float("nan")])
@pytest.mark.parametrize("attention", STRATEGIES)
def test_a_video_alone_is_the_same_in_a_batch(attention: str, fill: float) -> None:
    model = small(attention).double().eval()
    batch = make_batch([33, 1, 7, 20], fill=fill)
    together = model(batch.visual.double(), batch.audio.double(), batch.mask)
    streams = model.encode(batch.visual.double(), batch.audio.double(), batch.mask)
    for b in range(len(batch)):
        one = single(batch, b)
        alone = model(one.visual.double(), one.audio.double(), one.mask)
        real = together.mask[b]
        # a longer batch has more points a level: those of this video are the real ones
        kept = alone.mask[0]
        assert int(real.sum()) == int(kept.sum())
        assert torch.equal(together.points[real], alone.points[kept])
        assert torch.allclose(together.logits[b][real], alone.logits[0][kept], rtol=0, atol=1e-9)
        assert torch.allclose(together.offsets[b][real], alone.offsets[0][kept], rtol=0, atol=1e-9)
        n = one.mask.shape[1]
        seen = model.encode(one.visual.double(), one.audio.double(), one.mask)
        for stream, of_one in zip(streams, seen, strict=True):
            assert torch.allclose(stream[b, :n], of_one[0], rtol=0, atol=1e-9)
            assert (stream[b, n:] == 0).all()


@pytest.mark.parametrize("attention", STRATEGIES)
def test_the_same_in_float32(attention: str) -> None:
    model = small(attention).eval()
    batch = make_batch([33, 7], fill=float("nan"))
    together = model(batch.visual, batch.audio, batch.mask)
    one = single(batch, 1)
    alone = model(one.visual, one.audio, one.mask)
    real = together.mask[1]
    assert torch.allclose(together.logits[1][real], alone.logits[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [1, 7, 33, 1000])
@pytest.mark.parametrize("attention", STRATEGIES)
def test_any_length(attention: str, length: int) -> None:
    model = small(attention).eval()
    batch = make_batch([length])
    outputs = model(batch.visual, batch.audio, batch.mask)
    sizes = [-(-length // 2**level) for level in range(6)]
    assert outputs.logits.shape == (1, sum(sizes), 3)
    assert outputs.offsets.shape == (1, sum(sizes), 3, 2)
    assert (outputs.offsets >= 0).all()
    assert outputs.logits.isfinite().all()
    (events,) = model.detect(batch)
    assert events.scores is not None
    assert (events.scores.diff() <= 0).all()
    assert (events.segments >= 0).all()
    assert (events.segments <= batch.durations[0]).all()


@pytest.mark.parametrize("correspondence", CORRESPONDENCES)
@pytest.mark.parametrize("attention", STRATEGIES)
def test_losses_are_finite_whatever_stands_in_padding(attention: str, correspondence: str) -> None:
    truth = [events_of((0.5, 3.0, 0), (1.0, 6.0, 2)), events_of(), events_of((0.1, 0.9, 1))]
    values, gradients = [], []
    for fill in (0.0, float("nan")):
        model = small(attention, correspondence).train()
        batch = make_batch([33, 1, 7], truth, fill)
        torch.manual_seed(0)  # the same drop path
        losses = model.losses(batch)
        total = torch.stack([v for k, v in losses.items() if k.startswith("loss_")]).sum()
        total.backward()
        values.append(total.item())
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert values[0] == values[1] > 0
    for clean, dirty in zip(*gradients, strict=True):
        assert dirty.isfinite().all()
        assert torch.equal(clean, dirty)


@pytest.mark.parametrize("attention", STRATEGIES)
def test_gradients_reach_every_parameter(attention: str) -> None:
    model = small(attention).train()
    truth = [events_of((0.5, 3.0, 0), (1.0, 60.0, 2), (2.0, 30.0, 1)), events_of((0.1, 0.9, 1))]
    for module in model.modules():
        if hasattr(module, "rate"):
            module.rate = 0.0
    with torch.no_grad():
        for parameter in model.decoder.head.regress.last.parameters():
            parameter.abs_()  # a dead ReLU would pass nothing on
    losses = model.losses(make_batch([200, 64], truth))
    torch.stack([v for k, v in losses.items() if k.startswith("loss_")]).sum().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
    assert losses["lcc/temperature"].item() == pytest.approx(0.07)
    assert losses["lcc/sigma"].item() == pytest.approx(1.0)


def test_an_early_fusion_is_what_both_streams_get_and_lcc_does_not() -> None:
    """Of the two modalities beside each other: in the pyramid alone, and 0 in padding."""
    torch.manual_seed(0)
    model = LoCo(6, 5, 3, dim=16, heads=2, joint=partial(JointEmbedding, width=4)).eval()
    batch = make_batch([33, 7])
    inputs = batch.visual, batch.audio, batch.mask
    outputs = model(*inputs)
    streams = model.encode(*inputs)
    joint = model.joint(*inputs)
    assert (joint[1, 7:] == 0).all()
    expected = model.decoder(model.pyramid(*(stream + joint for stream in streams), batch.mask))
    assert torch.equal(outputs.logits, expected.logits)
    dirty = make_batch([33, 7], fill=1e4)
    again = model(dirty.visual, dirty.audio, dirty.mask)
    assert torch.equal(outputs.logits[outputs.mask], again.logits[outputs.mask])
    for changed in (0, 1):  # what either modality says reaches the other one's stream
        other = [x.clone() for x in inputs[:2]]
        other[changed][0, 5] += 1
        assert not torch.equal(model.joint(*other, batch.mask)[0, 5], joint[0, 5])


def test_who_asks_in_the_pyramid() -> None:
    """The other stream where `asks` is context; the encoders ask themselves in any case."""
    for asks in ("self", "context"):
        model = LoCo(6, 5, 3, dim=16, heads=2, asks=asks)
        pyramid = [*model.pyramid.visual_blocks, *model.pyramid.audio_blocks]
        assert {block.asks for block in pyramid} == {asks}
        assert {block.asks for block in model.visual_encoder.blocks} == {"self"}
    with pytest.raises(ValueError, match="asks must be self or context"):
        LoCo(6, 5, 3, dim=16, heads=2, asks="both")


def joint() -> LoCo:
    """A narrow LoCo of a joint pyramid, whose head reads both streams."""
    torch.manual_seed(0)
    return LoCo(
        6, 5, 3, dim=16, heads=2, encoder_blocks=1, decoder_blocks=0, layer_scale=0.5,
        pyramid=partial(JointPyramid, kernel=5), decoder=partial(Decoder, fuse=False),
        criterion=DetectionLoss(normalizer=10.0),
    )  # fmt: skip


def test_a_joint_pyramid_meets_once_and_goes_up_as_one_stream() -> None:
    pyramid = joint().eval().pyramid
    streams, mask = torch.randn(2, 2, 21, 16), torch.ones(2, 21, dtype=torch.bool)
    mask[1, 9:] = False
    levels = pyramid(*streams, mask)
    assert [x.shape for x, _ in levels] == [(2, math.ceil(21 / s), 32) for s in pyramid.strides]
    assert pyramid.strides == (1, 2, 4, 8, 16, 32)
    ((x, _),) = pyramid.meeting(*streams, mask)
    for block in pyramid.stem:
        x = block(x, mask)
    assert torch.equal(levels[0][0], x)
    for (x, real), (coarse, _), block in zip(
        levels[:-1], levels[1:], pyramid.pyramid.blocks, strict=True
    ):
        assert torch.equal(coarse, block(x, real))
    window = next(iter(pyramid.pyramid.blocks)).window
    assert window.kernel_size == (5,)
    assert window.groups == 32


def test_a_joint_pyramid_and_a_plain_decoder_see_no_padding_and_all_learn() -> None:
    model = joint()
    truth = [events_of((0.5, 3.0, 0), (1.0, 6.0, 2)), events_of((0.1, 0.9, 1))]
    losses = model.train().losses(make_batch([200, 64], truth))
    total(losses).backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None]
    assert silent == []
    model.eval()
    clean, dirty = (make_batch([33, 7], fill=fill) for fill in (0.0, float("nan")))
    outputs, again = (model(b.visual, b.audio, b.mask) for b in (clean, dirty))
    assert torch.equal(outputs.logits[outputs.mask], again.logits[outputs.mask])
    assert torch.equal(outputs.offsets[outputs.mask], again.offsets[outputs.mask])
    assert model.decoder.head.classify.convs[0].in_channels == 32
    alone = single(clean, 1)
    by_itself = model(alone.visual, alone.audio, alone.mask)
    assert torch.allclose(
        outputs.logits[1][outputs.mask[1]], by_itself.logits[by_itself.mask], atol=1e-5
    )


def test_a_decoder_that_does_not_fuse_has_no_blocks() -> None:
    with pytest.raises(ValueError, match="decoder_blocks must be 0"):
        LoCo(6, 5, 3, dim=16, heads=2, decoder=partial(Decoder, fuse=False))


def test_two_losses_before_one_backward() -> None:
    model = small().train()
    truth = [events_of((0.5, 3.0, 0)), events_of((0.1, 0.9, 1))]
    batch = make_batch([33, 7], truth)
    (total(model.losses(batch)) + total(model.losses(batch))).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_leaves_what_is_read_in_float32(dtype: torch.dtype) -> None:
    model = small().train()
    truth = [events_of((0.5, 3.0, 0), (1.0, 6.0, 2)), events_of((0.1, 0.9, 1))]
    batch = make_batch([33, 7], truth)
    with torch.autocast("cpu", dtype):
        outputs = model(batch.visual, batch.audio, batch.mask)
        losses = model.losses(batch)
    assert outputs.logits.dtype == outputs.offsets.dtype == torch.float32
    for value in losses.values():
        assert value.dtype == torch.float32
        assert value.isfinite()
    total(losses).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_the_assigner_is_a_part_to_configure() -> None:
    ranges = [(0.0, 2.0**level * 2) for level in range(6)]
    model = LoCo(6, 5, 3, dim=16, heads=2, assigner=RangeAssigner(ranges))
    batch = make_batch([64])
    points = model(batch.visual, batch.audio, batch.mask).points
    assert points[:, 1:3].unique(dim=0).tolist() == [list(pair) for pair in ranges]


def test_a_batch_without_events_still_trains() -> None:
    model = small().train()
    losses = model.losses(make_batch([9, 4]))
    assert losses["loss_reg"] == 0
    assert losses["loss_cls"] > 0
    sum(v for k, v in losses.items() if k.startswith("loss_")).backward()


def test_a_prior_makes_untrained_scores_small() -> None:
    model = small().eval()
    batch = make_batch([40])
    scores = model(batch.visual, batch.audio, batch.mask).logits.sigmoid()
    assert 0.002 < scores.mean().item() < 0.05


@pytest.mark.parametrize(
    ("attention", "parameters"),
    [
        pytest.param(NoAttention, 53.5e6, marks=pytest.mark.slow),
        pytest.param(GlobalAttention, 66.2e6, marks=pytest.mark.slow),
        pytest.param(FixedWindowAttention, 66.2e6, marks=pytest.mark.slow),
        (CrossModalDynamicPerception, 66.3e6),
    ],
)
def test_paper_size_counts(attention: type[nn.Module], parameters: float) -> None:
    """At most 67 M parameters and 25 GFLOP at T = 224, with every attention strategy."""
    with torch.device("meta"):
        model = LoCo(2048, 128, 100, attention=attention).eval()
        inputs = (torch.empty(1, 224, 2048), torch.empty(1, 224, 128))
        mask = torch.empty(1, 224, dtype=torch.bool)
    count = sum(p.numel() for p in model.parameters())
    assert count == pytest.approx(parameters, rel=0.01)
    with operations() as counter, torch.no_grad():
        model.decoder(model.pyramid(*model.encode(*inputs, mask), mask))
    assert 20e9 < counter.get_total_flops() < 25e9


def test_operations_on_a_cpu_are_those_of_the_formula() -> None:
    """PyTorch's counter leaves out attention as a CPU does it."""
    torch.manual_seed(0)
    model = GlobalAttention(dim=8, heads=2)
    x, mask = torch.randn(1, 50, 8), torch.ones(1, 50, dtype=torch.bool)
    with operations() as counter, torch.no_grad():
        model(x, x, mask)
    linear, convolution, table = 4 * 50 * 8 * 8, 3 * 50 * 8 * 3, 2 * 50 * 50 * 8
    assert counter.get_total_flops() == 2 * (linear + convolution + table)


def test_the_backward_pass_of_attention_is_counted() -> None:
    """Its five products; the first is the forward pass's own, worked out anew."""
    query, key, value = (torch.randn(1, 2, 50, 4, requires_grad=True) for _ in range(3))
    with operations() as counter:
        global_attention(query, key, value, torch.ones(1, 1, 50, dtype=torch.bool)).sum().backward()
    assert counter.get_total_flops() == (2 + 5) * 2 * 50 * 50 * 8

"""TriDet against what its public code answers, and at its published size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from torch.nn import functional

from helpers import compose_config
from loco.detection.center_sampling import assign_centers
from loco.detection.losses import DetectionLoss
from loco.detection.trident import TridentHead, boundary_distances
from loco.detectors.tridet.detector import TriDet
from loco.nn.sgp import SGPBlock
from loco.runs.cost import operations
from one_stream_weights import SGP, STEM, load_net
from unav_weights import agree, load, original, read

BLOCKS: dict[str, dict[str, Any]] = {
    "stem": {"kernel": 1, "k": 5},
    "branch": {"kernel": 3, "k": 1.5, "stride": 2, "layer_scale": 1.0},
    "branch_thumos": {"kernel": 1, "k": 5, "stride": 2, "layer_scale": 1.0},
    "branch_avg": {"kernel": 3, "k": 1.5, "stride": 2, "layer_scale": 1.0, "pool": "average"},
}


@pytest.mark.parametrize("name", BLOCKS)
def test_block_parity(name: str) -> None:
    figures = read("tridet_sgp")
    block = SGPBlock(dim=32, hidden=48, **BLOCKS[name]).eval()
    assert block.wide_window.kernel_size == (figures[f"{name}.up_size"].item(),)
    load(block, original(figures, f"{name}.w.", padded=False), SGP)
    mask = figures[f"{name}.full.mask"]
    ours = block(figures[f"{name}.full.x"], mask)
    agree(ours, figures[f"{name}.full.y"], figures[f"{name}.full.y_mask"])


@pytest.mark.parametrize("pool", ["max", "average"])
def test_padding_is_not_seen_by_any_mean(pool: Any) -> None:
    """As the original does see it: in the mean over time, in GroupNorm, where it pools."""
    torch.manual_seed(0)
    block = SGPBlock(dim=32, hidden=48, stride=2, pool=pool, layer_scale=1.0).double().eval()
    x = torch.randn(1, 13, 32, dtype=torch.float64)
    padded = torch.cat([x, torch.full_like(x, float("nan"))], 1)
    mask = torch.arange(26).unsqueeze(0) < 13
    alone = block(x, mask[:, :13])
    assert torch.allclose(block(padded, mask)[:, :7], alone, rtol=0, atol=1e-12)
    assert (block(padded, mask)[:, 7:] == 0).all()


def test_distances_parity() -> None:
    figures = read("tridet_head")
    ours = [
        boundary_distances(
            figures[f"start{i}"], figures[f"end{i}"], figures[f"bins{i}"],
            torch.ones(figures[f"start{i}"].shape[:2], dtype=torch.bool),
        )
        for i in range(2)
    ]  # fmt: skip
    assert torch.allclose(torch.cat(ours, 1), figures["decoded"], rtol=0, atol=1e-5)


def test_distances_by_hand() -> None:
    """One point at a time, as the formula has it; what lies outside the video counts as 0."""
    torch.manual_seed(0)
    start, end = torch.randn(2, 1, 5, 2, dtype=torch.float64)
    centre = torch.rand(1, 5, 8, dtype=torch.float64)
    mask = torch.tensor([[True] * 4 + [False]])
    ours = boundary_distances(start, end, centre, mask)
    for t in range(4):
        for c in range(2):
            left, right = [], []
            for j in range(4):
                before, after = t - 3 + j, t + j
                left.append(centre[0, t, j] + (start[0, before, c] if before >= 0 else 0))
                right.append(centre[0, t, 4 + j] + (end[0, after, c] if after < 4 else 0))
            p, q = torch.stack(left).softmax(0), torch.stack(right).softmax(0)
            expected = [sum((3 - j) * p[j] for j in range(4)), sum(j * q[j] for j in range(4))]
            assert ours[0, t, c].tolist() == pytest.approx([float(e) for e in expected])


def whole_net() -> tuple[TriDet, dict[str, torch.Tensor]]:
    """What `model=tridet` builds, of the figures' size and with their weights."""
    figures = read("tridet_model")
    config = compose_config(
        "train",
        ["model=tridet", "model.dim=16", "model.feed_forward=24", "model.num_levels=4",
         "model.bins=4", "model.positions=false", "output_dir=x"],
    )  # fmt: skip
    net = instantiate(config.model, visual_channels=12, audio_channels=8, num_classes=5).eval()
    load_net(net, original(figures, "w.", padded=False), *SGP, *STEM)
    return net, figures


def test_model_parity() -> None:
    net, figures = whole_net()
    x = figures["x"]
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    outputs = net(x[..., :12], x[..., 12:], mask)
    stream = net.embedding(x, mask)
    for block in net.stem:
        stream = block(stream, mask)
    for i, (features, level_mask) in enumerate(net.pyramid(stream, mask)):
        agree(features, figures[f"features{i}"], level_mask)
        agree(net.head.start(features, level_mask), figures[f"start{i}"], level_mask)
        agree(net.head.end(features, level_mask), figures[f"end{i}"], level_mask)
        bins = functional.relu(net.head.regress(features, level_mask) * net.head.scales[i])
        agree(bins, figures[f"bins{i}"], level_mask)
    agree(outputs.logits, torch.cat([figures[f"logits{i}"] for i in range(4)], 1), outputs.mask)
    agree(outputs.offsets, figures["decoded"], outputs.mask)
    step, stride = outputs.points[:, 0, None], outputs.points[:, 3, None]
    start, end = (outputs.offsets * stride[..., None]).unbind(3)
    segments = torch.stack([step - start, step + end], 3)
    # up to 60 steps, in float32
    torch.testing.assert_close(segments, figures["segments"], rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("row", [0, 1])
def test_loss_parity(row: int) -> None:
    net, figures = whole_net()
    x = figures["x"]
    outputs = net(x[..., :12], x[..., 12:], torch.ones(x.shape[:2], dtype=torch.bool))
    labels = [figures[f"loss.labels{b}"] for b in range(2)]
    video = torch.cat([torch.full_like(of_video, b) for b, of_video in enumerate(labels)])
    segments = torch.cat([figures[f"loss.segments{b}"] for b in range(2)])
    positives = assign_centers(outputs.points, segments, torch.cat(labels), video, 2, 5, 1.5)
    targets = torch.zeros(2, 60, 5)
    targets[positives.video, positives.point, positives.label] = 1
    assert torch.equal(targets, figures["loss.cls_targets"])
    power, smoothing, weight, cls, reg, total, normalizer = figures["loss.values"][row].tolist()
    criterion = DetectionLoss(
        regression="diou", regression_weight=weight, label_smoothing=smoothing,
        quality_power=power, normalizer=100,
    ).train()  # fmt: skip
    losses = criterion(outputs.logits, outputs.offsets, outputs.mask, positives)
    assert losses["loss_cls"].item() == pytest.approx(cls, abs=1e-5)
    assert losses["loss_reg"].item() == pytest.approx(weight * reg, abs=1e-5)
    assert (losses["loss_cls"] + losses["loss_reg"]).item() == pytest.approx(total, abs=1e-5)
    assert losses["normalizer"].item() == pytest.approx(normalizer)
    losses["loss_cls"].backward()  # the quality teaches the regression too
    grad = net.head.regress.last.weight.grad
    assert grad is not None
    assert grad.isfinite().all()
    assert grad.any()


@pytest.mark.parametrize(
    ("channels", "steps", "parameters", "gmac"),
    [((2048, 128), 224, 16.56, 4.45), ((1536, 1536), 256, 17.93, 5.44)],
)
def test_published_size(
    channels: tuple[int, int], steps: int, parameters: float, gmac: float
) -> None:
    """As the public code's own in its setting for THUMOS, counted there."""
    with torch.device("meta"):
        net = TriDet(*channels, 100, kernel=1, k=5).eval()
        inputs = [torch.empty(1, steps, count) for count in channels]
        mask = torch.empty(1, steps, dtype=torch.bool)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(parameters, abs=0.006)
    with operations() as counter, torch.no_grad():
        net(*inputs, mask)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, rel=0.02)


def test_with_init_std_at_0_its_convolutions_stay_dead() -> None:
    """As published for THUMOS; with a deviation they learn."""
    for init_std, alive in ((0.0, False), (0.2, True)):
        torch.manual_seed(0)
        block = SGPBlock(dim=16, hidden=24, stride=2, init_std=init_std, layer_scale=1.0)
        mask = torch.ones(2, 12, dtype=torch.bool)
        optimizer = torch.optim.AdamW(block.parameters(), lr=1e-2)
        for _ in range(3):
            optimizer.zero_grad()
            (block(torch.randn(2, 12, 16), mask) ** 2).sum().backward()
            optimizer.step()
        for name in ("gate", "window", "wide_window", "instant", "instant_gate"):
            conv = getattr(block, name)
            assert bool(conv.weight.any()) is alive, name
            assert bool(conv.bias.any()) is alive, name


def test_noise_is_added_in_training_alone() -> None:
    torch.manual_seed(0)
    net = TriDet(6, 5, 3, dim=16, feed_forward=24, input_noise=0.5, drop_path=0.0)
    features = torch.randn(1, 9, 6), torch.randn(1, 9, 5), torch.ones(1, 9, dtype=torch.bool)
    assert not torch.equal(net(*features).logits, net(*features).logits)
    net.eval()
    assert torch.equal(net(*features).logits, net(*features).logits)


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"dim": 20}, "multiple of 16"), ({"k": 0}, "k must"), ({"init_std": -1}, "init_std"),
     ({"pool": "mean"}, "pool"), ({"bins": 0}, "bins"), ({"input_noise": -1}, "input_noise"),
     ({"kernel": 2}, "odd"), ({"num_levels": 0}, "num_levels")],
)  # fmt: skip
def test_settings_that_fit_nothing_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        TriDet(6, 5, 3, **{"dim": 16, "feed_forward": 24} | settings)


def test_boundaries_do_not_teach_the_pyramid() -> None:
    torch.manual_seed(0)
    head = TridentHead(16, 3, num_levels=1, bins=4)
    x = torch.randn(1, 9, 16, requires_grad=True)
    mask = torch.ones(1, 9, dtype=torch.bool)
    with torch.no_grad():
        head.scales.zero_()  # the centre branch says nothing: what is left is detached
    _, offsets, _ = head([(x, mask)])
    offsets.sum().backward()
    assert x.grad is None or not x.grad.any()

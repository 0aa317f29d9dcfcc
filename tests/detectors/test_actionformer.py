"""ActionFormer against what its public code answers, and at its published size."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from helpers import compose_config
from loco.detection.center_sampling import assign_centers
from loco.detection.losses import DetectionLoss
from loco.detection.suppression import Voting
from loco.detectors.actionformer import ActionFormer
from loco.nn.attention import FixedWindowAttention, GlobalAttention
from loco.nn.blocks import TransformerBlock
from loco.nn.layers import downsample_mask
from loco.runs.cost import operations
from one_stream_weights import ATTENTION, load_net
from unav_weights import agree, load, original, read

BLOCKS: dict[str, tuple[int, Any]] = {
    "window_stride1": (1, partial(FixedWindowAttention, window_size=5)),
    "window_stride2": (2, partial(FixedWindowAttention, window_size=5)),
    "global_stride2": (2, GlobalAttention),
    "window19": (1, partial(FixedWindowAttention, window_size=19)),
    "window_relpe": (1, partial(FixedWindowAttention, window_size=5, relative_bias=True)),
}


@pytest.mark.parametrize(
    ("name", "case"),
    [(name, "full") for name in BLOCKS] + [(name, "padded") for name in BLOCKS if "stride" in name],
)
def test_block_parity(name: str, case: str) -> None:
    figures = read("actionformer_block")
    stride, attention = BLOCKS[name]
    block = TransformerBlock(dim=16, heads=4, stride=stride, attention=attention).eval()
    load(block, original(figures, f"{name}.w.", padded=case == "padded"), ATTENTION)
    mask = figures[f"{name}.{case}.mask"]
    ours = block(figures[f"{name}.{case}.x"], mask)
    agree(ours, figures[f"{name}.{case}.y"], downsample_mask(mask, stride))


def whole_net(case: str) -> tuple[ActionFormer, dict[str, torch.Tensor]]:
    """What `model=actionformer` builds, of the figures' size and with their weights."""
    figures = read("actionformer_model")
    config = compose_config(
        "train",
        ["model=actionformer", "model.dim=16", "model.heads=2", "model.num_levels=4",
         "model.window_size=[5,5,1,1]", "output_dir=x"],
    )  # fmt: skip
    net = instantiate(config.model, visual_channels=12, audio_channels=8, num_classes=5).eval()
    load_net(net, original(figures, "w.", padded=case == "padded"), *ATTENTION)
    return net, figures


@pytest.mark.parametrize("case", ["full", "padded"])
def test_model_parity(case: str) -> None:
    net, figures = whole_net(case)
    x, mask = figures[f"{case}.x"], figures[f"{case}.mask"]
    outputs = net(x[..., :12], x[..., 12:], mask)
    levels = net.pyramid(net.encoder(x, mask), mask)
    for i, (features, level_mask) in enumerate(levels):
        assert torch.equal(level_mask, figures[f"{case}.mask{i}"])
        agree(features, figures[f"{case}.features{i}"], level_mask)
    for name in ("logits", "offsets"):
        theirs = torch.cat([figures[f"{case}.{name}{i}"] for i in range(4)], 1)
        agree(getattr(outputs, name), theirs, outputs.mask)
    steps_and_strides = outputs.points[:, [0, 3]]
    assert torch.equal(steps_and_strides, figures[f"{case}.points"][:, [0, 3]])


def test_loss_parity() -> None:
    """Label smoothing 0.1, loss weight 2, a normaliser from 100."""
    net, figures = whole_net("padded")
    x, mask = figures["padded.x"], figures["padded.mask"]
    outputs = net(x[..., :12], x[..., 12:], mask)
    labels = [figures[f"loss.labels{b}"] for b in range(2)]
    video = torch.cat([torch.full_like(of_video, b) for b, of_video in enumerate(labels)])
    segments = torch.cat([figures[f"loss.segments{b}"] for b in range(2)])
    positives = assign_centers(outputs.points, segments, torch.cat(labels), video, 2, 5, 1.5)
    targets = torch.zeros(2, 60, 5)
    targets[positives.video, positives.point, positives.label] = 1
    real = outputs.mask
    assert torch.equal(targets[real], figures["loss.cls_targets"][real])
    criterion = DetectionLoss(
        regression="diou", regression_weight=2, label_smoothing=0.1, normalizer=100
    ).train()
    losses = criterion(outputs.logits, outputs.offsets, outputs.mask, positives)
    cls, reg, total, normalizer = figures["loss.values"].tolist()
    assert losses["loss_cls"].item() == pytest.approx(cls, abs=1e-5)
    assert losses["loss_reg"].item() == pytest.approx(2 * reg, abs=1e-5)
    assert (losses["loss_cls"] + losses["loss_reg"]).item() == pytest.approx(total, abs=1e-5)
    assert losses["normalizer"].item() == pytest.approx(normalizer)


@pytest.mark.parametrize(
    ("channels", "steps", "parameters", "gmac", "window"),
    [((2048, 128), 224, 29.57, 4.60, 1), ((1536, 1536), 256, 30.95, 5.48, 9)],
)
def test_published_size(
    channels: tuple[int, int], steps: int, parameters: float, gmac: float, window: int
) -> None:
    """As the public code's own, counted there; windows of 9 at ONE-PEACE's length."""
    with torch.device("meta"):
        net = ActionFormer(*channels, 100, window_size=window).eval()
        inputs = [torch.empty(1, steps, count) for count in channels]
        mask = torch.empty(1, steps, dtype=torch.bool)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(parameters, abs=0.005)
    with operations() as counter, torch.no_grad():
        net(*inputs, mask)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, rel=0.02)


def test_streams_are_projected_apart() -> None:
    net = ActionFormer(6, 5, 3, streams=(8, 4), dim=16, heads=2, num_levels=3).eval()
    visual, audio = torch.randn(1, 9, 6), torch.randn(1, 9, 5)
    mask = torch.ones(1, 9, dtype=torch.bool)
    fused = net.fusion(visual, audio, mask)
    sight, sound = net.fusion.projections
    by_hand = [visual @ sight.weight[..., 0].T, audio @ sound.weight[..., 0].T]
    assert torch.allclose(fused, torch.cat(by_hand, -1), atol=1e-6)
    assert net.encoder.convs[0].in_channels == 12


def test_voting_can_be_had() -> None:
    """As docs/systems.md says it is turned on."""
    words = ["model=actionformer_small", "model.dim=16", "output_dir=x",
             "+model.decoding.class_aware=false",
             "+model.decoding.voting={_target_: loco.detection.suppression.Voting}"]  # fmt: skip
    config = compose_config("train", words)
    net = instantiate(config.model, visual_channels=6, audio_channels=5, num_classes=3)
    assert net.decoding.voting == Voting()
    del config.model.decoding.class_aware
    with pytest.raises(InstantiationException, match="class_aware=false"):
        instantiate(config.model, visual_channels=6, audio_channels=5, num_classes=3)


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"window_size": [5, 5]}, "window_size"), ({"window_size": 0}, "window_size"),
     ({"streams": [8]}, "streams"), ({"num_levels": 0}, "num_levels")],
)  # fmt: skip
def test_settings_that_fit_nothing_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ActionFormer(6, 5, 3, **{"dim": 16, "heads": 2, "num_levels": 3} | settings)

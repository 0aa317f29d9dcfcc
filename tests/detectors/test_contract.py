"""What every detector of the suite keeps to, whatever it is made of.

A new one is a line in MODELS. Each is built as `loco train model=NAME` would build it, made narrow
by its overrides, so that a test takes seconds.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from batches import AUDIO, GRID, VISUAL, double, make_batch, single, total
from helpers import (
    Stopped,
    assert_same,
    compose_config,
    last_checkpoint,
    tiny_config,
)
from loco.data.features import LARGEST
from loco.errors import LocoError
from loco.reporting.inspection import spaces
from loco.runs.checkpoints import load_module
from loco.runs.predict import predict
from loco.runs.train import train
from loco.structures import Batch, Events
from loco.training.module import LocalizationModule

NARROW = ["model.dim=16", "model.heads=2"]
MODELS = {
    "loco_small": NARROW,
    "loco_plus_small": NARROW,
    "actionformer_small": NARROW,
    "tridet_small": ["model.dim=16", "model.feed_forward=24"],
    "unav_small": ["model.dim=16", "model.heads=2", "model.class_dim=4", "model.head_dim=16"],
    "uniav_small": ["model.dim=16", "model.heads=2", "model.head_dim=16"],
    "tadtr_small": [
        "model.dim=16",
        "model.heads=2",
        "model.feed_forward=24",
        "model.num_queries=8",
    ],
    "vsgn_small": ["model.dim=16", "model.length=64", "model.num_levels=3", "model.head_convs=1"],
}
"""Each model with the overrides that make it narrow."""

SILENT: dict[str, tuple[str, ...]] = {}
"""Parts of the names of parameters that no gradient reaches, by model; its docstring says why."""

CLASSES = 3

every_model = pytest.mark.parametrize("model", MODELS)


@functools.cache
def model_config(name: str) -> DictConfig:
    config = compose_config("train", [f"model={name}", *MODELS[name], "output_dir=x"])
    OmegaConf.resolve(config.model)
    return config.model


def build(name: str, seed: int = 0) -> Any:
    """A narrow detector of which nothing is at its start any more."""
    torch.manual_seed(seed)
    detector: nn.Module = instantiate(
        model_config(name), visual_channels=VISUAL, audio_channels=AUDIO, num_classes=CLASSES
    )
    with torch.no_grad():
        for parameter in detector.parameters():
            if parameter.unique().numel() == 1:  # biases, scales, what starts at 0
                parameter += 0.1 * torch.randn_like(parameter)
    return detector


def random_events(count: int, duration: float) -> Events:
    """Events of all lengths, of all classes, on one another and side by side."""
    generator = np.random.default_rng(count)
    length = duration * generator.uniform(0.02, 1, count) ** 2
    start = generator.uniform(0, duration - length)
    return Events(
        torch.from_numpy(np.stack([start, start + length], 1)),
        torch.from_numpy(generator.integers(CLASSES, size=count)),
    )


def whole_video(duration: float) -> Events:
    return Events(torch.tensor([[0.0, duration]], dtype=torch.float64), torch.tensor([1]))


def check_detections(detections: list[Events], batch: Batch) -> None:
    """Sorted, clipped, finite, of known classes."""
    assert len(detections) == len(batch)
    for events, duration in zip(detections, batch.durations, strict=True):
        assert events.scores is not None
        assert ((events.scores >= 0) & (events.scores <= 1)).all()
        assert (events.scores.diff() <= 0).all()
        assert events.segments.isfinite().all()
        assert (events.segments[:, 0] <= events.segments[:, 1]).all()
        assert ((events.segments >= 0) & (events.segments <= duration)).all()
        assert ((events.labels >= 0) & (events.labels < CLASSES)).all()


def same_detections(first: Events, second: Events) -> bool:
    """Whether both hold the same, up to what rounding does to the order of near ties."""
    if len(first) != len(second):
        return False
    assert first.scores is not None
    assert second.scores is not None
    rows = [
        torch.cat([e.segments.double(), e.labels[:, None].double(), s[:, None].double()], 1)
        for e, s in ((first, first.scores), (second, second.scores))
    ]
    distance = (rows[0][:, None] - rows[1]).abs().amax(2)
    return bool((distance.amin(1) < 1e-4).all() and (distance.amin(0) < 1e-4).all())


@pytest.mark.parametrize("fill", [0.0, 1e4, math.nan])
@every_model
def test_a_video_alone_is_the_same_in_a_batch(model: str, fill: float) -> None:
    detector = build(model).double().eval()
    batch = double(make_batch([33, 1, 7, 20], fill=fill))
    with torch.no_grad():
        outputs = detector(batch.visual, batch.audio, batch.mask)
        detections = detector.detect(batch)
        for b in range(len(batch)):
            one = single(batch, b)
            assert same_detections(detector.detect(one)[0], detections[b])
            if not hasattr(outputs, "points"):
                continue
            # a longer batch has more points a level: those of this video are the real ones
            alone, real = detector(one.visual, one.audio, one.mask), outputs.mask[b]
            kept = alone.mask[0]
            assert torch.equal(outputs.points[real], alone.points[kept])
            for name in ("logits", "offsets"):
                ours, theirs = getattr(outputs, name)[b][real], getattr(alone, name)[0][kept]
                assert torch.allclose(ours, theirs, rtol=0, atol=1e-9), name


@pytest.mark.parametrize("length", [1, 7, 33, pytest.param(1000, marks=pytest.mark.slow)])
@every_model
def test_any_length(model: str, length: int) -> None:
    detector = build(model).eval()
    truth = [random_events(3, GRID.end_seconds(length))]
    batch = make_batch([length], truth)
    with torch.no_grad():
        check_detections(detector.detect(batch), batch)
    losses = detector.train().losses(batch)
    assert all(value.isfinite() for value in losses.values())
    total(losses).backward()


@every_model
def test_losses_are_the_same_whatever_stands_in_padding(model: str) -> None:
    lengths = [33, 1, 7]
    ends = [GRID.end_seconds(n) for n in lengths]
    truth = [random_events(4, ends[0]), Events.empty(), whole_video(ends[2])]
    values, gradients = [], []
    for fill in (0.0, math.nan):
        detector = build(model).train()
        torch.manual_seed(0)  # the same drop path
        losses = detector.losses(make_batch(lengths, truth, fill))
        total(losses).backward()
        values.append(total(losses).item())
        gradients.append([p.grad for p in detector.parameters() if p.grad is not None])
    assert values[0] == values[1] > 0
    for clean, dirty in zip(*gradients, strict=True):
        assert dirty.isfinite().all()
        assert torch.equal(clean, dirty)


@every_model
def test_any_ground_truth(model: str) -> None:
    """None in a whole batch, one as long as its video, 23 in one; all that is minimised is named
    so, and nothing else has a gradient."""
    end = GRID.end_seconds(64)
    detector = build(model).train()
    for truth in ([Events.empty()] * 2, [whole_video(end)] * 2, [random_events(23, end)] * 2):
        losses = detector.losses(make_batch([64, 64], truth))
        assert total(losses) > 0
        for name, value in losses.items():
            assert value.ndim == 0
            assert value.isfinite()
            assert value.requires_grad <= name.startswith("loss_"), name
        detector.zero_grad()
        total(losses).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in detector.parameters())


@every_model
def test_the_module_minimises_every_loss(model: str) -> None:
    module = LocalizationModule(build(model).eval(), ["a", "b", "c"])
    seen: dict[str, Any] = {}
    module.log_dict = lambda values, **kwargs: seen.update(values)  # type: ignore[method-assign]
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    module._learning_rate = lambda: 0.0  # type: ignore[method-assign]
    batch = make_batch([33], [random_events(4, GRID.end_seconds(33))])
    expected = module.detector.losses(batch)  # type: ignore[operator]
    assert module.training_step(batch, 0).item() == pytest.approx(total(expected).item())
    parts = [v.item() for k, v in seen.items() if k.startswith("train/loss_")]
    assert sum(parts) == pytest.approx(total(expected).item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@every_model
def test_autocast_stays_finite(model: str, dtype: torch.dtype) -> None:
    detector = build(model).train()
    ends = [GRID.end_seconds(n) for n in (33, 7)]
    batch = make_batch([33, 7], [random_events(5, ends[0]), whole_video(ends[1])])
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        losses = detector.losses(batch)
        with torch.no_grad():
            check_detections(detector.eval().detect(batch), batch)
    assert all(v.isfinite() and v.dtype == torch.float32 for v in losses.values())
    total(losses).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in detector.parameters())


@every_model
def test_features_that_are_usable_do_not_overflow_and_what_does_is_told(model: str) -> None:
    """NaN is above no threshold: a video would lose its events without a word."""
    module = LocalizationModule(build(model), ["a", "b", "c"]).eval()
    batch = make_batch([33], [random_events(4, GRID.end_seconds(33))])
    batch.visual[0, 7], batch.audio[0, 7] = LARGEST, -LARGEST
    check_detections(module.detect(batch), batch)
    batch.visual[0, 7] = math.nan
    with pytest.raises(LocoError, match=r"not all numbers|got nan"):
        module.detect(batch)
    assert not total(module.train().detector.losses(batch)).isfinite()  # type: ignore[operator]


@every_model
def test_gradients_reach_every_parameter(model: str) -> None:
    """In one of a few draws: a ReLU that is 0 everywhere passes nothing on."""
    named = SILENT.get(model, ())
    end = GRID.end_seconds(200)
    silent = {name for name, _ in build(model).named_parameters()}
    for seed in range(4):
        detector = build(model, seed).train()
        for module in detector.modules():
            if hasattr(module, "rate"):
                module.rate = 0.0
        total(detector.losses(make_batch([200], [random_events(23, end)]))).backward()
        reached = {n for n, p in detector.named_parameters() if p.grad is not None and p.grad.any()}
        silent -= reached
        if all(any(part in name for part in named) for name in silent):
            break
    assert not {name for name in silent if not any(part in name for part in named)}
    for part in named:
        assert any(part in name for name in silent), f"{part} has a gradient after all"


@every_model
def test_saved_and_loaded_it_detects_the_same(model: str, tmp_path: Path) -> None:
    batch = make_batch([33, 7])
    detector, other = build(model).eval(), build(model, seed=1).eval()
    torch.save(detector.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    for first, second in zip(detector.detect(batch), other.detect(batch), strict=True):
        assert torch.equal(first.segments, second.segments)
        assert torch.equal(first.labels, second.labels)
        assert_same(first.scores, second.scores)


@pytest.mark.slow
@every_model
def test_resumed_is_uninterrupted(model: str, synthetic_root: Path, tmp_path: Path) -> None:
    def run(output: str, *settings: str) -> dict[str, float]:
        always = (f"model={model}", "optimizer.lr=0.003")
        folder = tmp_path / output
        return train(tiny_config(synthetic_root, folder, *always, *settings, model=MODELS[model]))

    whole = run("whole")
    with pytest.raises(Stopped):
        run("stopped", "+callbacks.stop={_target_: helpers.StopAfter, epoch: 1}")
    resumed = run("resumed", f"ckpt_path={tmp_path / 'stopped'}")
    expected, got = (last_checkpoint(tmp_path / name) for name in ("whole", "resumed"))
    for part in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers"):
        assert_same(expected[part], got[part], part)
    assert resumed == whole


@pytest.mark.slow
@every_model
def test_a_run_is_shown(model: str, synthetic_root: Path, tmp_path: Path) -> None:
    """Its page, its pictures for W&B; what it has not got is left out, with a word in the page."""
    settings = (
        f"model={model}", "trainer.max_epochs=1", "report=true", "logger=wandb",
        "logger.wandb.offline=true",
    )  # fmt: skip
    train(tiny_config(synthetic_root, tmp_path / "run", *settings, model=MODELS[model]))
    module = load_module(tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    pictures = {path.parent.name for path in (tmp_path / "run").rglob("media/images/*/*.png")}
    has_encoders = bool(spaces(module))
    assert ("No similarity matrices" in page) is not has_encoders
    assert ("similarity" in pictures) is has_encoders
    assert "timeline" in pictures
    config = (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")
    for group in ("attention:", "correspondence:"):
        assert (group in config) is model.startswith("loco")


@pytest.mark.slow
@every_model
def test_a_very_long_video(model: str, synthetic_root: Path, tmp_path: Path) -> None:
    """43,200 steps in one piece, as `loco predict` reads them."""
    settings = (f"model={model}", "trainer.max_epochs=1")
    train(tiny_config(synthetic_root, tmp_path / "run", *settings, model=MODELS[model]))
    features = tmp_path / "long"
    features.mkdir()
    generator = np.random.default_rng(0)
    for name, channels in (("rgb", 4), ("flow", 3), ("vggish", 5)):
        values = generator.standard_normal((43_200, channels)).astype(np.float32)
        np.save(features / f"one_{name}.npy", values)
    found = predict(
        compose_config(
            "predict",
            [f"ckpt_path={tmp_path / 'run'}", f"data.root={features}", "trainer.accelerator=cpu",
             f"output_dir={tmp_path / 'predicted'}"],
        )
    )  # fmt: skip
    assert set(found) == {"one"}
    assert found["one"].scores is not None
    assert len(found["one"]) <= 100

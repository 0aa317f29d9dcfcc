"""UnAV and UniAV as detectors: sizes, configs, invariances in a batch, gradients, events."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from batches import events_of, make_batch, total
from helpers import compose_config
from loco.detection.losses import DetectionLoss
from loco.detectors.unav.dependency import DependencyBlock
from loco.detectors.unav.detector import UnAV
from loco.detectors.uniav.detector import Task, UniAV
from loco.detectors.uniav.heads import text_table
from loco.errors import LocoError
from loco.nn.blocks import TransformerBlock
from loco.runs.cost import random_batch
from loco.structures import TimeGrid

GRID = TimeGrid(fps=25, window=24, stride=8)
SMALL = {"dim": 16, "heads": 2, "encoder_blocks": 1, "head_dim": 12, "layer_scale": 0.5}
CLASSES = {"tal": 4, "avel": 3, "sed": 2}


def three() -> dict[str, Task]:
    return {"tal": Task(class_agnostic=True), "avel": Task(), "sed": Task()}


MODELS: dict[str, Callable[[], nn.Module]] = {
    "unav": lambda: UnAV(6, 5, 3, class_dim=4, **SMALL),
    "unav_plain": lambda: UnAV(6, 5, 3, dependency=False, **SMALL),
    "uniav": lambda: UniAV(6, 5, 3, text_channels=8, **SMALL),
    "uniav_three": lambda: UniAV(6, 5, CLASSES, text_channels=8, tasks=three(), **SMALL),
}
other_forms = pytest.mark.parametrize("name", ["unav_plain", "uniav_three"])
"""Those that the contract of all detectors (tests/detectors/test_contract.py) does not build."""


def small(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[name]()


# -- sizes and configs -----------------------------------------------------------------------------


def cost(model: nn.Module, channels: tuple[int, int], steps: int, *task: str) -> tuple:
    """Parameters in millions, and GMAC of one video."""
    inputs = [torch.empty(1, steps, width, device="meta") for width in channels]
    mask = torch.ones(1, steps, dtype=torch.bool, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.to("meta").eval()(*inputs, mask, *task)
    count = sum(parameter.numel() for parameter in model.parameters())
    return round(count / 1e6, 2), counter.get_total_flops() / 2e9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("channels", "steps", "unav", "plain", "uniav"),
    [
        ((2048, 128), 224, (139.54, 55.62), (60.70, 9.33), (129.37, 9.71)),
        ((1536, 1536), 256, (140.92, 64.26), (62.07, 11.07), (130.75, 11.49)),
    ],
)
def test_published_sizes(
    channels: tuple[int, int], steps: int, unav: tuple, plain: tuple, uniav: tuple
) -> None:
    """Parameters to two digits as the originals', operations within 2 %."""
    with torch.device("meta"):
        models = {
            unav: UnAV(*channels, 100),
            plain: UnAV(*channels, 100, dependency=False),
            uniav: UniAV(*channels, {"tal": 200, "avel": 100, "sed": 10}, tasks=three()),
        }
        alone = UniAV(*channels, 100)
    for expected, model in models.items():
        task = ("avel",) if isinstance(model, UniAV) else ()
        parameters, operations = cost(model, channels, steps, *task)
        assert parameters == expected[0]
        assert operations == pytest.approx(expected[1], rel=0.02)
    # as coded, one task alone keeps the experts of all three; here it has its own only
    experts = [m for n, m in alone.named_modules() if n.endswith(("norm.of_task", "ward.of_task"))]
    a_set = sum(parameter.numel() for of in experts for parameter in of.parameters()) / 1e6
    first = 129.34 if channels[0] == 2048 else 130.72
    assert a_set == pytest.approx(33.61, abs=0.01)
    assert cost(alone, channels, steps)[0] + 2 * a_set == pytest.approx(first, abs=0.01)


@pytest.mark.parametrize("name", ["loco_small", "unav_small", "uniav_small"])
def test_small_sizes(name: str) -> None:
    """At equal size: within 10 % of 3.5 M with the synthetic data's channels and classes."""
    config = compose_config("train", [f"model={name}", "output_dir=x"])
    model = instantiate(config.model, visual_channels=128, audio_channels=64, num_classes=10)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == pytest.approx(3.5e6, rel=0.1)
    assert (name == "unav_small") == hasattr(model, "dependency")


@pytest.mark.parametrize(("name", "kind"), [("unav", UnAV), ("uniav", UniAV)])
def test_the_published_size_is_the_default_of_the_class(name: str, kind: type) -> None:
    config = compose_config("train", [f"model={name}", "output_dir=x"])
    for setting, parameter in inspect.signature(kind).parameters.items():
        if isinstance(parameter.default, bool | int | float):
            assert config.model[setting] == parameter.default, setting
    built = instantiate(config.model, visual_channels=4, audio_channels=3, num_classes=2)
    plain = kind(4, 3, 2)
    assert str(plain) == str(built)
    assert plain.assigner == built.assigner
    decodings = [getattr(m, "decodings", getattr(m, "decoding", None)) for m in (plain, built)]
    assert decodings[0] == decodings[1]
    assert built.detect(random_batch(1, 5, 4, 3, GRID))
    criteria = [[m for m in of.modules() if isinstance(m, DetectionLoss)] for of in (plain, built)]
    (ours,), (theirs,) = criteria
    assert ours.normalizer == theirs.normalizer
    assert ours.regression_loss is theirs.regression_loss


# -- invariances -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", [0.0, float("nan")])
@other_forms
def test_a_video_alone_is_the_same_in_a_batch(name: str, fill: float) -> None:
    model = small(name).double().eval()
    batch = make_batch([33, 1, 7, 20], fill=fill)
    task = ("sed",) if name == "uniav_three" else ()
    together = model(batch.visual.double(), batch.audio.double(), batch.mask, *task)
    streams = model.encode(batch.visual.double(), batch.audio.double(), batch.mask)
    for b, n in enumerate(batch.mask.sum(1).tolist()):
        one = (batch.visual[b : b + 1, :n].double(), batch.audio[b : b + 1, :n].double())
        alone = model(*one, batch.mask[b : b + 1, :n], *task)
        real = together.mask[b]
        assert torch.equal(together.points[real], alone.points)
        for field in ("logits", "offsets"):
            of_batch = getattr(together, field)[b][real]
            assert torch.allclose(of_batch, getattr(alone, field)[0], rtol=0, atol=1e-9)
        seen = model.encode(*one, batch.mask[b : b + 1, :n])
        for stream, of_one in zip(streams, seen, strict=True):
            assert torch.allclose(stream[b, :n], of_one[0], rtol=0, atol=1e-9)
            assert (stream[b, n:] == 0).all()


@other_forms
def test_losses_and_gradients_whatever_stands_in_padding(name: str) -> None:
    first = events_of((0.5, 3.0, 0), (1.0, 60.0, 1), (2.0, 30.0, 1))
    truth = [first, events_of(), events_of((0.1, 0.9, 1))]
    values, gradients = [], []
    for fill in (0.0, float("nan")):
        model = small(name).train()
        torch.manual_seed(0)  # the same drop path
        batch = replace(make_batch([200, 1, 7], truth, fill), task="avel")
        loss = total(model.losses(batch))
        loss.backward()
        values.append(loss.item())
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert values[0] == values[1] > 0
    for clean, dirty in zip(*gradients, strict=True):
        assert dirty.isfinite().all()
        assert torch.equal(clean, dirty)


@other_forms
def test_gradients_reach_every_parameter(name: str) -> None:
    model = small(name).train()
    for module in model.modules():
        if hasattr(module, "rate"):
            module.rate = 0.0
    with torch.no_grad():  # a dead ReLU would pass nothing on
        for where, parameter in model.named_parameters():
            if where.startswith(("regress.last", "regress.of_task")):
                parameter.abs_()
    truth = [events_of((0.5, 3.0, 0), (1.0, 60.0, 1), (2.0, 30.0, 1)), events_of((0.1, 0.9, 1))]
    batch = make_batch([200, 64], truth)
    tasks = tuple(CLASSES) if name == "uniav_three" else ("avel",)
    for done, task in enumerate(tasks, start=1):
        total(model.losses(replace(batch, task=task))).backward()
        for where, parameter in model.named_parameters():  # nobody else's experts learn from it
            if any(f"of_task.{other}." in where for other in tasks[done:]):
                assert parameter.grad is None
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@other_forms
def test_events_of_any_length(name: str) -> None:
    model = small(name).eval()
    for length in (1, 7, 33):
        batch = make_batch([length, 1])
        found = model.detect(batch)
        assert len(found) == 2
        for events, duration in zip(found, batch.durations, strict=True):
            assert events.scores is not None
            assert len(events)
            assert (events.scores.diff() <= 0).all()
            assert (events.segments >= 0).all()
            assert (events.segments <= duration).all()
    losses = model.train().losses(make_batch([9, 4]))  # no events
    assert losses["loss_reg"] == 0
    assert total(losses) > 0


@other_forms
def test_autocast_leaves_what_is_read_in_float32(name: str) -> None:
    model = small(name).train()
    batch = make_batch([33, 7], [events_of((0.5, 3.0, 0))])
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(batch.visual, batch.audio, batch.mask, *(
            ("avel",) if name == "uniav_three" else ()
        ))  # fmt: skip
        losses = model.losses(batch)
    assert outputs.logits.dtype == outputs.offsets.dtype == torch.float32
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())


# -- UnAV ------------------------------------------------------------------------------------------


def test_as_many_steps_as_classes() -> None:
    """B·T = K: the original would take the mask of time for one of classes."""
    torch.manual_seed(0)
    block = DependencyBlock(6, 8, class_dim=4).double().eval()
    x = torch.randn(2, 4, 6, dtype=torch.float64)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    together = block(x, mask)
    assert torch.allclose(together[1, :2], block(x[1:, :2], mask[1:, :2])[0], rtol=0, atol=1e-9)


def test_the_order_of_the_classes_plays_a_part() -> None:
    """Its convolutions run along the class ids, as the original's do."""
    torch.manual_seed(0)
    block = DependencyBlock(6, 4, class_dim=4).eval()
    x, mask = torch.randn(1, 5, 6), torch.ones(1, 5, dtype=torch.bool)
    before = block(x, mask)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        expand, squeeze = block.expand.weight, block.squeeze.weight
        expand.copy_(expand.unflatten(0, (4, 4))[order].flatten(0, 1))
        squeeze.copy_(squeeze.unflatten(1, (4, 4))[:, order].flatten(1, 2))
    assert not torch.allclose(before, block(x, mask), atol=1e-4)


# -- UniAV -----------------------------------------------------------------------------------------


def test_a_net_of_one_task_takes_its_part_of_a_net_of_three() -> None:
    several, one = small("uniav_three").eval(), UniAV(6, 5, 3, text_channels=8, **SMALL).eval()
    part = {name: value for name, value in several.state_dict().items() if name in one.state_dict()}
    assert part.keys() == one.state_dict().keys()
    one.load_state_dict(part)
    batch = make_batch([20, 9])
    ours = several(batch.visual, batch.audio, batch.mask, "avel")
    theirs = one(batch.visual, batch.audio, batch.mask)
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.offsets, theirs.offsets)


def test_class_agnostic_offsets_are_those_of_every_class() -> None:
    model = small("uniav_three").eval()
    batch = make_batch([20])
    offsets = model(batch.visual, batch.audio, batch.mask, "tal").offsets
    assert offsets.shape[2:] == (4, 2)
    assert (offsets == offsets[:, :, :1]).all()


def test_text_tables(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    file = tmp_path / "text.npy"
    np.save(file, table)
    tasks = {"avel": Task(text=str(file))}
    with caplog.at_level(logging.WARNING):
        model = UniAV(6, 5, 3, text_channels=8, tasks=tasks, **SMALL)
    assert not caplog.records
    assert np.array_equal(model.text.avel.numpy(), table)

    with caplog.at_level(logging.WARNING):
        small("uniav")
    assert "random rows stand for" in caplog.text
    rows = text_table("random", 3, 8, "avel")
    assert torch.equal(rows, text_table("random", 3, 8, "avel"))
    assert not torch.equal(rows, text_table("random", 3, 8, "sed"))
    assert torch.allclose(rows.norm(dim=1), torch.ones(3))

    for bad in (np.zeros((3, 8)), np.ones((4, 8)), np.full((3, 8), np.nan), np.ones((3, 8), int)):
        np.save(tmp_path / "bad.npy", bad)
        with pytest.raises(LocoError, match=r"task avel: .*bad.npy.* text table"):
            text_table(str(tmp_path / "bad.npy"), 3, 8, "avel")


def test_a_checkpoint_needs_its_text_file_no_more(tmp_path: Path) -> None:
    file = tmp_path / "text.npy"
    np.save(file, np.ones((3, 8), np.float32))
    tasks = {"avel": Task(text=str(file))}
    state = UniAV(6, 5, 3, text_channels=8, tasks=tasks, **SMALL).state_dict()
    file.unlink()
    model = UniAV(6, 5, 3, text_channels=8, tasks=tasks, **SMALL).eval()
    with pytest.raises(LocoError, match=r"text: expected a text table, there is none: .*text.npy"):
        model.detect(make_batch([5]))
    model.load_state_dict(state)
    assert model.detect(make_batch([5]))


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"3 tasks \(tal, avel, sed\) need a data set each"):
        UniAV(6, 5, 3, tasks=three())
    with pytest.raises(ValueError, match="the model's tasks are avel, the data's sed"):
        UniAV(6, 5, {"sed": 3})
    with pytest.raises(ValueError, match="plain word"):
        UniAV(6, 5, 3, tasks={"a.b": Task()})
    with pytest.raises(LocoError, match="expected a task among tal, avel, sed, got 'other'"):
        small("uniav_three").detect(replace(make_batch([5]), task="other"))
    with pytest.raises(ValueError, match="asks must be self or context"):
        TransformerBlock(dim=4, heads=1, asks="nobody")

"""Every model in half precision: finite where float32 is, and near to it."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import pytest
import torch
from hydra.utils import instantiate
from torch import nn

from batches import total
from helpers import ROOT, Composer, compose_config
from loco.runs.cost import random_batch
from loco.runs.train import train
from loco.structures import Batch, TimeGrid

MODELS = sorted(
    path.stem for path in (ROOT / "conf" / "model").glob("*.yaml") if path.stem != "base"
)
GROUPS = {
    group: sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))
    for group in ("attention", "correspondence")
}
CASES = [
    *(
        # published sizes are built of the same parts
        pytest.param((f"model={model}",), marks=() if "_small" in model else pytest.mark.slow)
        for model in MODELS
    ),
    *(
        pytest.param(("model=loco_small", f"{group}={option}"), marks=pytest.mark.slow)
        for group, options in GROUPS.items()
        for option in options
        if option != "base" and "_w" not in option  # other widths of a window
    ),
]
GRID = TimeGrid(fps=25, window=24, stride=8)
STEPS = 64


@cache
def large_batch() -> Batch:
    """Two videos, one of them padded with NaN; features larger than any encoder makes them."""
    torch.manual_seed(0)
    batch = random_batch(2, STEPS, 6, 5, GRID)
    batch.visual.mul_(100)
    batch.audio.mul_(100)
    batch.mask[1, 40:] = False
    batch.visual[1, 40:] = batch.audio[1, 40:] = float("nan")
    return batch


def built(words: tuple[str, ...]) -> nn.Module:
    config = compose_config("train", [*words, "output_dir=x"])
    if "dim" in config.model:
        config.model.dim = 32
    torch.manual_seed(0)
    return instantiate(config.model, visual_channels=6, audio_channels=5, num_classes=3)


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("words", CASES, ids=lambda words: ",".join(words))
def test_losses_gradients_and_detections_are_finite(
    words: tuple[str, ...], dtype: torch.dtype
) -> None:
    model, batch = built(words).train(), large_batch()
    torch.manual_seed(0)  # of drop path
    expected = total(deepcopy(model).losses(batch)).item()  # type: ignore[operator]
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype):
        loss = total(model.losses(batch))  # type: ignore[operator]
        loss.backward()
        detections = model.eval().detect(batch)  # type: ignore[operator]
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=0.05)
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    assert len(detections) == 2
    for events in detections:
        assert events.scores is not None
        assert events.scores.isfinite().all()
        assert events.segments.isfinite().all()


def test_a_training_in_bfloat16_on_a_cpu(tiny: Composer) -> None:
    metrics = train(tiny("trainer.precision=bf16-mixed", "trainer.max_epochs=1"))
    assert 0 <= metrics["mAP"] <= 1

"""What a model costs: parameters, operations, and times on the machine at hand."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from loco.errors import SettingError, check_number
from loco.files import write_text
from loco.runs.results import write_json
from loco.runs.settings import absolute_paths, only_used_groups
from loco.structures import Batch, Events, TimeGrid

log = logging.getLogger(__name__)

FUSED_ON_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FUSED_ON_CPU_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
"""Attention as a CPU does it, whose operations PyTorch's counter leaves out."""


def measure(config: DictConfig) -> dict[str, float | str]:
    """Measure the model of a config on random features, and write cost.json.

    Args:
        config: as for a training, with `cost`: see `conf/experiment/table3_cost.yaml`.

    Returns:
        what `model_cost` returns.

    Raises:
        SettingError: sizes, a device or a precision that cannot be measured.
    """
    config = only_used_groups(absolute_paths(config))
    output, sizes = Path(config.output_dir), config.cost
    for name in ("steps", "batch_size", "repeats"):
        try:
            check_number(f"cost.{name}", sizes[name], 1, whole=True)
        except ValueError as error:
            raise SettingError(str(error)) from error
    torch.manual_seed(config.seed)
    model = instantiate(
        config.model,
        visual_channels=sizes.visual_channels,
        audio_channels=sizes.audio_channels,
        num_classes=sizes.num_classes,
    )
    cost = model_cost(
        model,
        channels=(sizes.visual_channels, sizes.audio_channels),
        steps=sizes.steps,
        grid=instantiate(config.data.layout).grid,
        batch_size=sizes.batch_size,
        repeats=sizes.repeats,
        device=measured_device(config.trainer.accelerator),
        precision=config.trainer.precision,
    )
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
    write_json(output / "cost.json", cost)
    log.info("%s: cost.json: %s", output, ", ".join(f"{k} {v}" for k, v in cost.items()))
    return cost


def measured_device(accelerator: str) -> torch.device:
    """The device of `trainer.accelerator`: auto is a GPU where there is one.

    Raises:
        SettingError: a GPU was asked for, and there is none, so that the CPU's times would pass for
            its own; or a device that is not measured.
    """
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cpu":
        return torch.device("cpu")
    if accelerator not in ("gpu", "cuda"):
        raise SettingError(f"trainer.accelerator={accelerator}: auto, cpu and gpu can be measured")
    if not torch.cuda.is_available():
        raise SettingError(
            f"trainer.accelerator={accelerator}: PyTorch sees no GPU here. Measure where there is "
            "one, or the CPU: trainer.accelerator=cpu"
        )
    return torch.device("cuda")


def precision_context(precision: str | int, device: torch.device) -> AbstractContextManager[Any]:
    """Computes as the forward pass of a training with this `trainer.precision` does.

    Entered anew for each pass: autocast keeps its casts of the weights until it is left.

    Raises:
        SettingError: a precision that is not measured.
    """
    if str(precision) in ("32", "32-true"):
        return nullcontext()
    if precision == "bf16-mixed":
        return torch.autocast(device.type, torch.bfloat16)
    raise SettingError(f"trainer.precision={precision}: 32-true and bf16-mixed can be measured")


def model_cost(
    model: nn.Module,
    *,
    channels: tuple[int, int],
    steps: int,
    grid: TimeGrid,
    batch_size: int,
    repeats: int,
    device: torch.device | str = "cpu",
    precision: str | int = "32-true",
) -> dict[str, float | str]:
    """Parameters, operations and times of a detector with a `forward(visual, audio, mask)`.

    Args:
        model: the detector; it is moved to `device`.
        channels: of sight and of sound.
        steps: T, the length of the random videos.
        grid: of the features.
        batch_size: of the training step.
        repeats: timed calls of a forward pass, and half as many steps; the median is taken.
        device: where it is measured.
        precision: as in `trainer.precision`: 32-true or bf16-mixed.

    Returns:
        `parameters`, those of LCC among them; `gflop`, 2 × MAC of one video's forward pass;
        `forward_s`, the same in seconds; `detect_s`, with decoding and NMS; `step_s`, a training
        step of `batch_size` videos; `matmul_gflops`, GFLOP/s of a large matrix product in the same
        minute and precision, to compare machines by; `batch_size`, `steps`, `device`, `precision`.

    Raises:
        SettingError: a precision that is not measured.
    """
    device = torch.device(device)
    model = model.to(device)
    one = random_batch(1, steps, *channels, grid).to(device)
    batch = random_batch(batch_size, steps, *channels, grid).to(device)

    def seconds(work: Callable[[], object]) -> float:
        def computed() -> None:
            with precision_context(precision, device):
                work()

        return median_seconds(computed, repeats, device)

    model.eval()
    with torch.no_grad():
        with operations() as counter:
            model(one.visual, one.audio, one.mask)
        product = torch.randn(2048, 2048, device=device)
        matmul = 2 * 2048**3 / seconds(lambda: product @ product) / 1e9
        forward = seconds(lambda: model(one.visual, one.audio, one.mask))
        detect = seconds(lambda: model.detect(one))  # type: ignore[operator]
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    step = median_seconds(
        lambda: training_step(model, optimizer, batch, precision), max(repeats // 2, 1), device
    )
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "gflop": counter.get_total_flops() / 1e9,
        "forward_s": forward,
        "detect_s": detect,
        "step_s": step,
        "matmul_gflops": matmul,
        "batch_size": batch_size,
        "steps": steps,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": str(precision),
    }


def training_cost(
    model: nn.Module,
    channels: tuple[int, int],
    steps: int,
    grid: TimeGrid,
    epoch_seconds: Sequence[float],
) -> dict[str, float]:
    """What a training that is over took: for comparisons of systems.

    Args:
        model: the detector.
        channels: of sight and of sound.
        steps: T, the length of a video that operations are counted of.
        grid: of the features.
        epoch_seconds: of the training of each epoch.

    Returns:
        `parameters`; `gflop`, 2 × MAC of one video's forward pass, where the model has a
        `forward(visual, audio, mask)`; `epoch_s`, the median, where an epoch was timed.
    """
    cost: dict[str, float] = {"parameters": sum(p.numel() for p in model.parameters())}
    device = next(model.parameters()).device
    one = random_batch(1, steps, *channels, grid).to(device)
    training = model.training
    try:
        with torch.no_grad(), operations() as counter:
            model.eval()(one.visual, one.audio, one.mask)
        cost["gflop"] = round(counter.get_total_flops() / 1e9, 3)
    except Exception as error:  # a detector of one's own may have no such forward; the run goes on
        log.info("operations of %s are not counted: %s", type(model).__name__, error)
    finally:
        model.train(training)
    if epoch_seconds:
        cost["epoch_s"] = round(statistics.median(epoch_seconds), 2)
    return cost


def operations() -> FlopCounterMode:
    """Counts the operations (2 × MAC) of what runs within it: `.get_total_flops()`."""

    def fused(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    def backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_backward_flop_count(gradient, query, key, value))

    return FlopCounterMode(
        display=False, custom_mapping={FUSED_ON_CPU: fused, FUSED_ON_CPU_BACKWARD: backward}
    )


def median_seconds(
    work: Callable[[], object], repeats: int, device: torch.device | None = None
) -> float:
    """Median time of a call, after one that warms up."""

    def finished() -> float:
        if device is not None and device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    work()
    times = []
    for _ in range(repeats):
        start = finished()
        work()
        times.append(finished() - start)
    return statistics.median(times)


def random_batch(size: int, steps: int, visual: int, audio: int, grid: TimeGrid) -> Batch:
    """Random features, (B, T, C), with three events of three classes in each video."""
    duration = grid.end_seconds(steps)
    segments = torch.tensor([[0.1, 0.2], [0.3, 0.8], [0.0, 1.0]], dtype=torch.float64) * duration
    return Batch(
        visual=torch.randn(size, steps, visual),
        audio=torch.randn(size, steps, audio),
        mask=torch.ones(size, steps, dtype=torch.bool),
        durations=torch.full((size,), duration, dtype=torch.float64),
        indices=torch.arange(size),
        video_ids=[str(i) for i in range(size)],
        events=[Events(segments, torch.tensor([0, 1, 2]))] * size,
        grid=grid,
    )


def training_step(
    model: Any, optimizer: torch.optim.Optimizer, batch: Batch, precision: str | int = "32-true"
) -> None:
    """Forward, backward, optimiser: the forward pass alone is in `precision`, as in a training."""
    with precision_context(precision, batch.visual.device):
        losses = model.losses(batch)
    optimizer.zero_grad()
    torch.stack([v for k, v in losses.items() if k.startswith("loss_")]).sum().backward()
    optimizer.step()

"""Parameters, operations and time of the model with each attention strategy.

Times are given as they are and against a matrix product of the same minute: the share of the
machine's arithmetic that a forward pass gets out of it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from loco.models.attention import (
    CrossModalDynamicPerception,
    FixedWindowAttention,
    GlobalAttention,
    NoAttention,
)
from loco.models.loco import LoCo
from loco.structures import Batch, Events, TimeGrid

STRATEGIES = {
    "none (base)": NoAttention,
    "global (base + GB)": GlobalAttention,
    "fixed": FixedWindowAttention,
    "cdp": CrossModalDynamicPerception,
}


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of a call, after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def product_gflops(repeats: int) -> float:
    """GFLOP/s of a 2048 × 2048 matrix product."""
    a = torch.randn(2048, 2048)
    return 2 * 2048**3 / median_seconds(lambda: a @ a, repeats) / 1e9


def make_batch(size: int, steps: int, visual: int, audio: int) -> Batch:
    """Random features, with three events in each video."""
    grid = TimeGrid(fps=25, window=24, stride=8)
    duration = grid.end_seconds(steps)
    events = Events(
        torch.tensor([[0.1, 0.2], [0.3, 0.8], [0.0, 1.0]], dtype=torch.float64) * duration,
        torch.tensor([0, 1, 2]),
    )
    return Batch(
        visual=torch.randn(size, steps, visual),
        audio=torch.randn(size, steps, audio),
        mask=torch.ones(size, steps, dtype=torch.bool),
        durations=torch.full((size,), duration, dtype=torch.float64),
        indices=torch.arange(size),
        video_ids=[str(i) for i in range(size)],
        events=[events] * size,
        grid=grid,
    )


def training_step(model: LoCo, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    """Forward, backward, optimiser."""
    losses = model.losses(batch)
    optimizer.zero_grad()
    torch.stack([v for k, v in losses.items() if k.startswith("loss_")]).sum().backward()
    optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=224, help="T (default 224)")
    parser.add_argument("--visual", type=int, default=2048, help="visual channels (I3D: 2048)")
    parser.add_argument("--audio", type=int, default=128, help="audio channels (VGGish: 128)")
    parser.add_argument("--classes", type=int, default=100, help="K (UnAV-100: 100)")
    parser.add_argument("--batch-size", type=int, default=4, help="of the training step")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls; medians are shown")
    args = parser.parse_args()

    torch.manual_seed(0)
    table = Table(
        title=f"LoCo, paper size, T = {args.steps}",
        caption="2 × MAC operations of one video; time of one video: forward, forward + decoding, "
        f"and in a training step of {args.batch_size}",
    )
    for column in ("attention", "parameters", "GFLOP", "forward", "× matmul", "detect", "train"):
        table.add_column(column, justify="left" if column == "attention" else "right")
    for name, attention in STRATEGIES.items():
        model = LoCo(args.visual, args.audio, args.classes, attention=attention).eval()
        one = make_batch(1, args.steps, args.visual, args.audio)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(one.visual, one.audio, one.mask)
        gflop = counter.get_total_flops() / 1e9
        with torch.no_grad():
            product = product_gflops(args.repeats)
            forward = median_seconds(lambda: model(one.visual, one.audio, one.mask), args.repeats)  # noqa: B023
            detect = median_seconds(lambda: model.detect(one), args.repeats)  # noqa: B023
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        batch = make_batch(args.batch_size, args.steps, args.visual, args.audio)
        step = median_seconds(
            lambda: training_step(model, optimizer, batch),  # noqa: B023
            max(args.repeats // 2, 1),
        )
        table.add_row(
            name,
            f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M",
            f"{gflop:.1f}",
            f"{forward * 1e3:.0f} ms",
            f"{forward / (gflop / product):.2f}",
            f"{detect * 1e3:.0f} ms",
            f"{step / args.batch_size * 1e3:.0f} ms",
        )
    Console().print(table)


if __name__ == "__main__":
    main()

"""Time of each system's training step and inference, against its operations at LoCo's rate.

A system of few operations that takes long wastes the machine: the ratio says by how much, 1 being
LoCo of the same size. What no matrix product does (pooling, sampling, norms) is time, but is not
counted as operations.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from rich.console import Console
from rich.table import Table

from loco.runs.cost import (
    median_seconds,
    operations,
    precision_context,
    random_batch,
    training_step,
)
from loco.runs.systems import Sizes, model_names
from loco.structures import TimeGrid

CONF = Path(__file__).parents[1] / "conf"
GRID = TimeGrid(fps=25, window=24, stride=8)


class Work(NamedTuple):
    """Seconds of a call, and its operations (2 × MAC) in 10⁹."""

    seconds: float
    gflop: float

    def over(self, other: Work) -> float:
        """The time, in that of the same operations at the rate of `other`."""
        return self.seconds / self.gflop * other.gflop / other.seconds


def measured(
    name: str,
    sizes: Sizes,
    batch_size: int,
    repeats: int,
    device: torch.device,
    precision: str = "32-true",
) -> dict[str, Work]:
    """Of a system: `forward` and `detect` of one video, `train`, a step of `batch_size` videos."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [f"model={name}", "output_dir=."])
    torch.manual_seed(0)
    channels = (sizes.visual_channels, sizes.audio_channels)
    model: Any = instantiate(
        config.model, visual_channels=channels[0], audio_channels=channels[1],
        num_classes=sizes.num_classes,
    ).to(device)  # fmt: skip
    one, batch = (random_batch(n, sizes.steps, *channels, GRID).to(device) for n in (1, batch_size))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def forward() -> None:
        with precision_context(precision, device):
            model(one.visual, one.audio, one.mask)

    def detect() -> None:
        with precision_context(precision, device):
            model.detect(one)

    def train() -> None:
        training_step(model, optimizer, batch, precision)

    found = {}
    for of, call in {"forward": forward, "detect": detect, "train": train}.items():
        model.train(of == "train")
        with torch.set_grad_enabled(of == "train"):
            with operations() as counter:
                call()
            seconds = median_seconds(call, repeats, device)
        found[of] = Work(seconds, counter.get_total_flops() / 1e9)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("systems", nargs="*", help="as in model=NAME (default: all of the size)")
    parser.add_argument("--published", action="store_true", help="the published sizes, not small")
    parser.add_argument("--steps", type=int, default=224, help="T (default 224)")
    parser.add_argument("--batch-size", type=int, default=4, help="of the training step")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls; medians are shown")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    args = parser.parse_args()

    base = "loco" if args.published else "loco_small"
    of_size = [name for name in model_names(CONF) if name.endswith("_small") != args.published]
    names = [base, *(name for name in args.systems or of_size if name != base)]
    table = Table(
        title=f"T = {args.steps}, inference of one video, a training step of {args.batch_size}, "
        f"{args.device}, {args.precision}",
        caption=f"ratio: the time, in that of the same operations at {base}'s rate",
    )
    table.add_column("")
    for part in ("forward", "detect", "train"):
        for column in (part, "GFLOP", "GFLOP/s", "ratio"):
            table.add_column(column, justify="right")
    works: dict[str, dict[str, Work]] = {}
    for name in names:
        works[name] = measured(
            name,
            Sizes(steps=args.steps),
            args.batch_size,
            args.repeats,
            torch.device(args.device),
            args.precision,
        )
        cells = []
        for part, work in works[name].items():
            cells += [
                f"{work.seconds * 1e3:.0f} ms", f"{work.gflop:.1f}",
                f"{work.gflop / work.seconds:.0f}", f"{work.over(works[base][part]):.2f}",
            ]  # fmt: skip
        table.add_row(name, *cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()

"""Parameters, operations and time of the model with each attention strategy.

Times are given as they are and against a matrix product of the same minute: the share of the
machine's arithmetic that a forward pass gets out of it.
"""

from __future__ import annotations

import argparse

import torch
from rich.console import Console
from rich.table import Table

from loco.detectors.loco.cdp import CrossModalDynamicPerception
from loco.detectors.loco.detector import LoCo
from loco.nn.attention import FixedWindowAttention, GlobalAttention, NoAttention
from loco.runs.cost import model_cost
from loco.structures import TimeGrid

STRATEGIES = {
    "none (base)": NoAttention,
    "global (base + GB)": GlobalAttention,
    "fixed": FixedWindowAttention,
    "cdp": CrossModalDynamicPerception,
}


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
        cost = model_cost(
            LoCo(args.visual, args.audio, args.classes, attention=attention),
            channels=(args.visual, args.audio),
            steps=args.steps,
            grid=TimeGrid(fps=25, window=24, stride=8),
            batch_size=args.batch_size,
            repeats=args.repeats,
        )
        share = cost["forward_s"] / (cost["gflop"] / cost["matmul_gflops"])
        table.add_row(
            name,
            f"{cost['parameters'] / 1e6:.1f} M",
            f"{cost['gflop']:.1f}",
            f"{cost['forward_s'] * 1e3:.0f} ms",
            f"{share:.2f}",
            f"{cost['detect_s'] * 1e3:.0f} ms",
            f"{cost['step_s'] / args.batch_size * 1e3:.0f} ms",
        )
    Console().print(table)


if __name__ == "__main__":
    main()

"""Time and memory of global attention against the plain formula, which makes a table of T × T.

The paper's size, float32. At the usual lengths the two must cost the same; memory decides at long
ones. Each size runs in a process of its own, whose peak of memory is that of the calls.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from loco.nn.attention import global_attention, masked_attention
from loco.runs.cost import median_seconds


def plain(query: Tensor, key: Tensor, value: Tensor, visible: Tensor) -> Tensor:
    """The formula as it is written."""
    return masked_attention(query, key, value, visible.unsqueeze(-2))


WAYS: dict[str, Callable[..., Tensor]] = {"plain": plain, "ours": global_attention}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(way: str, videos: int, steps: int, repeats: int) -> tuple[float, float, float]:
    """Seconds of a forward pass, of one with its gradients, and the MB that they took."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(videos, 4, steps, 128, requires_grad=True) for _ in range(3))
    visible = torch.arange(steps) < torch.full((videos, 1, 1), steps - 1)
    before = peak_mb()

    def backward() -> None:
        WAYS[way](query, key, value, visible).sum().backward()

    with torch.no_grad():
        forward = median_seconds(lambda: WAYS[way](query, key, value, visible), repeats)
    return forward, median_seconds(backward, repeats), peak_mb() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", nargs="+", default=["16x224", "1x224", "1x4096"], help="B × T")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls; medians are shown")
    args = parser.parse_args()

    table = Table(title="Global attention, 4 heads of 128", caption="ratios: ours / plain")
    for column in ("videos × steps", "", "forward", "ratio", "and backward", "ratio", "memory"):
        table.add_column(column, justify="right")
    context = multiprocessing.get_context("spawn")
    for size in args.sizes:
        videos, steps = map(int, size.split("x"))
        results = {}
        for way in WAYS:
            with context.Pool(1) as pool:
                results[way] = pool.apply(measured, (way, videos, steps, args.repeats))
            forward, backward, memory = results[way]
            table.add_row(
                f"{videos} × {steps}", way,
                f"{forward * 1e3:.1f} ms", f"{forward / results['plain'][0]:.2f}",
                f"{backward * 1e3:.1f} ms", f"{backward / results['plain'][1]:.2f}",
                f"{memory:.0f} MB",
            )  # fmt: skip
    Console(width=100).print(table)


if __name__ == "__main__":
    main()

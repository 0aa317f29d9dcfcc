"""The columns of a sweep's table: mAP at each tIoU, and what models and trainings cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A result as a table shows it.

    Attributes:
        result: its name in metrics.json, cost.json or the log.
        title: what stands above.
        scale: the factor from the one to the other.
        best: of the rows' means; None where none is better than another.
    """

    result: str
    title: str
    scale: float = 100.0
    best: Callable[[Iterable[float]], float] | None = max
    digits: int = 2


MAP_COLUMNS = (
    *(Column(f"mAP@0.{i}", f"0.{i}") for i in range(5, 10)),
    Column("mAP", "Avg."),
)
COUNTED = (
    Column("parameters", "parameters (M)", 1e-6, min),
    Column("gflop", "GFLOP", 1.0, min, 1),
)
COST_COLUMNS = (
    *COUNTED,
    Column("step_s", "training step (s)", 1.0, min, 3),
    Column("detect_s", "a video (ms)", 1e3, min, 1),
)
TRAINING_COST_COLUMNS = (*COUNTED, Column("epoch_s", "an epoch (s)", 1.0, min, 1))

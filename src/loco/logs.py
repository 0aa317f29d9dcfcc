"""Reads the curves that a training logged."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from loco.errors import LocoError


class Curve(NamedTuple):
    """What was logged under one name.

    Attributes:
        steps: (N,) optimiser steps at which it was logged.
        epochs: (N,) epochs, NaN where none was logged.
        values: (N,).
    """

    steps: np.ndarray
    epochs: np.ndarray
    values: np.ndarray


def read_log(path: str | Path) -> dict[str, Curve]:
    """The curves in a CSV logger's `metrics.csv` by name, such as `train/loss` and `val/mAP`.

    Raises:
        LocoError: there is no such file, or it is none of a CSV logger.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise LocoError(f"{path}: cannot be read: {error.strerror}") from None
    columns: dict[str, list[tuple[float, float, float]]] = {}
    for row in rows:
        if "step" not in row:
            raise LocoError(f"{path}: expected the log of a CSV logger, it has no column 'step'")
        place = float(row["step"] or "nan"), float(row.get("epoch") or "nan")
        for name, value in row.items():
            if name not in ("step", "epoch") and value:
                columns.setdefault(name, []).append((*place, float(value)))
    return {name: Curve(*np.array(points).T) for name, points in sorted(columns.items())}

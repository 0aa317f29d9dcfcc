"""The curves that a training logs: reading them, and going on with those of a resumed run."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from loco.errors import LocoError
from loco.files import replacing


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

    What training logs by step it also logs as means of its epochs, as `epoch/train/loss`. Where no
    step was logged, since the run had too few, the means stand in.

    Raises:
        LocoError: there is no such file, or it is none of a CSV logger.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise LocoError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise LocoError(f"{path}: expected the log of a CSV logger: {error}") from None
    columns: dict[str, list[tuple[float, float, float]]] = {}
    for row in rows:
        if "step" not in row:
            raise LocoError(f"{path}: expected the log of a CSV logger, it has no column 'step'")
        try:
            place = float(row["step"] or "nan"), float(row.get("epoch") or "nan")
            for name, value in row.items():
                if name not in ("step", "epoch") and value:
                    columns.setdefault(name, []).append((*place, float(value)))
        except (TypeError, ValueError) as error:
            raise LocoError(f"{path}: expected the log of a CSV logger: {error}") from None
    for name in [name for name in columns if name.startswith("epoch/")]:
        columns.setdefault(name.removeprefix("epoch/"), columns[name])
    return {name: Curve(*np.array(points).T) for name, points in sorted(columns.items())}


def tensorboard_logger(**settings: Any) -> Any:
    """Lightning's logger of these settings.

    Raises:
        LocoError: TensorBoard is not installed.
    """
    from lightning.pytorch.loggers import TensorBoardLogger  # here: tables read logs without torch

    try:
        return TensorBoardLogger(**settings)
    except ModuleNotFoundError:
        raise LocoError(
            "logger=tensorboard needs TensorBoard: pip install '.[tensorboard]' in loco's checkout"
        ) from None


def mlflow_logger(folder: str | Path, **settings: Any) -> Any:
    """Lightning's logger of these settings, its run named by the folder of ours.

    Raises:
        LocoError: MLflow is not installed.
    """
    from lightning.pytorch.loggers import MLFlowLogger

    try:
        return MLFlowLogger(**{"run_name": Path(folder).name} | settings)
    except ModuleNotFoundError as error:  # also of what MLflow itself needs for its data base
        raise LocoError(
            f"logger=mlflow needs MLflow: pip install '.[mlflow]' in loco's checkout ({error})"
        ) from None


def build_loggers(config: DictConfig) -> list[Any]:
    """The CSV log, and the loggers of the config that are not set to null."""
    others = (config.get("logger") or {}).values()
    return [instantiate(logger) for logger in (config.csv_log, *others) if logger]


@contextmanager
def closing_wandb() -> Iterator[None]:
    """Close a W&B run that is left open, as a failed one; one from before, too.

    The next job of a sweep in this process would log into it. A run that left results is closed by
    its callback, which shows them.
    """
    _close_wandb(1)
    try:
        yield
    except BaseException:
        _close_wandb(1)
        raise
    _close_wandb(0)


def _close_wandb(exit_code: int) -> None:
    wandb = sys.modules.get("wandb")  # imported only by who logs to it
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=exit_code)


def continue_log(
    loggers: Iterable[Any], folder: Path, steps: int, within_epoch: bool = False
) -> None:
    """Begin the CSV log of a resumed run with what an earlier one logged.

    Args:
        loggers: of the trainer, before anything is logged.
        folder: of the earlier run.
        steps: how many of its optimiser steps count.
        within_epoch: whether the means of the last step's epoch are logged again.
    """
    from lightning.pytorch.loggers import CSVLogger

    earlier = folder / "logs" / "metrics.csv"
    if not earlier.is_file():
        return
    # a killed run's may end amid a row
    whole = earlier.read_text(encoding="utf-8").rpartition("\n")[0]
    rows = [row for row in csv.DictReader(whole.splitlines()) if int(row["step"] or 0) < steps]
    if within_epoch:
        for row in rows:
            if int(row["step"] or 0) == steps - 1:
                row.update({name: "" for name in row if name.startswith("epoch/")})
        rows = [row for row in rows if any(v for k, v in row.items() if k not in ("step", "epoch"))]
    tested = {name for row in rows for name in row if name.startswith("test/") and row[name]}
    rows = [row for row in rows if not any(row[name] for name in tested)]
    names = sorted({name for row in rows for name, value in row.items() if value})
    for logger in loggers:
        if rows and isinstance(logger, CSVLogger):
            writer = logger.experiment  # deletes what its folder has: the rows are read before
            writer.metrics_keys = list(names)
            with (
                replacing(writer.metrics_file_path) as unfinished,
                unfinished.open("w", newline="", encoding="utf-8") as file,
            ):
                table = csv.DictWriter(file, names, extrasaction="ignore")
                table.writeheader()
                table.writerows(rows)

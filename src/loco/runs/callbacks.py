"""The callbacks of a run, and the step that they may have at its end.

A callback of the configuration (`conf/callbacks`) is one of Lightning's. It may have one method
more, which training, evaluation and prediction call once their files are written:

    on_results(folder: Path, module: LocalizationModule, data: AVDataModule) -> None

The report and the last pictures of W&B are such callbacks, and so is a step of a user's own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback, Checkpoint
from omegaconf import DictConfig, OmegaConf

from loco.data.datamodule import AVDataModule
from loco.training.module import LocalizationModule

log = logging.getLogger(__name__)


def build_callbacks(config: DictConfig) -> list[Callback]:
    """The callbacks of the config, those that are not set to null.

    Without `trainer.enable_checkpointing` those that save are left out, too.
    """
    callbacks = config.get("callbacks") or {}
    built = [instantiate(callback) for callback in callbacks.values() if callback]
    saving = OmegaConf.select(config, "trainer.enable_checkpointing", default=True)
    return [c for c in built if saving is not False or not isinstance(c, Checkpoint)]


def call_on_results(
    callbacks: Iterable[Callback], folder: Path, module: LocalizationModule, data: AVDataModule
) -> None:
    """Call `on_results` of those that have it; what fails is told, and the others still run.

    The run's own results are written by then: a page that cannot be drawn does not make it fail.
    """
    for callback in callbacks:
        if (on_results := getattr(callback, "on_results", None)) is None:
            continue
        try:
            on_results(folder, module, data)
        except Exception as error:  # whatever a callback, also a user's own, can raise
            name = type(callback).__name__
            log.error("%s failed at the end of the run: %s: %s", name, type(error).__name__, error)
            log.debug("", exc_info=error)

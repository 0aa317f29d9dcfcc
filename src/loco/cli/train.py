"""Train a detector, then test its best checkpoint."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from loco.cli.configs import config_folder, run_composed
from loco.runs.entry import user_errors
from loco.runs.hydra_notes import keep_hydra_notes
from loco.runs.processes import run_task
from loco.runs.resume import resumed_words
from loco.sweeps.job import sweep_job


@user_errors
@sweep_job
def task(config: DictConfig) -> None:
    keep_hydra_notes(config)
    run_task(config.task, config)


def main(arguments: list[str]) -> int:
    words, notes = resumed_words(arguments, config_folder())
    return run_composed("train", telling(notes) if notes else task, words, given=arguments)


def telling(notes: list[str]) -> Callable[[DictConfig], Any]:
    """The task, which first logs these notes into the run's own log."""

    @functools.wraps(task)
    def told(config: DictConfig) -> Any:
        for note in notes:
            logging.getLogger("loco").info(note)
        return task(config)

    return told

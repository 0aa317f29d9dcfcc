"""Train a detector, then test its best checkpoint."""

from __future__ import annotations

import functools
import logging
import sys
from typing import Any

from omegaconf import DictConfig

from loco.cli.configs import config_folder, run_composed
from loco.runs.command.hydra_notes import keep_hydra_notes
from loco.runs.entry import user_errors
from loco.runs.processes import run_task
from loco.runs.resume import resumed_words
from loco.sweeps.run_job import sweep_job

log = logging.getLogger("loco")


@user_errors
@sweep_job
def task(config: DictConfig) -> None:
    keep_hydra_notes(config)
    run_task(config.task, config)


def main(arguments: list[str]) -> int:
    words, notes = resumed_words(arguments, config_folder())
    waiting = list(notes)

    @functools.wraps(task)
    def telling(config: DictConfig) -> Any:
        while waiting:  # into the run's own log
            log.info(waiting.pop(0))
        return task(config)

    try:
        return run_composed("train", telling if notes else task, words, given=arguments)
    finally:  # it was not composed, or only shown
        for note in waiting:
            print(note, file=sys.stderr)

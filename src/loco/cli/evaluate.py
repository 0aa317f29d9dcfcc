"""Repeat the test of a checkpoint, on its own data or on other data of the same classes."""

from omegaconf import DictConfig

from loco.cli.configs import run_composed
from loco.runs.command.hydra_notes import keep_hydra_notes
from loco.runs.entry import user_errors
from loco.runs.processes import run_task


@user_errors
def task(config: DictConfig) -> None:
    keep_hydra_notes(config)
    run_task("loco.runs.evaluate.evaluate", config)


def main(arguments: list[str]) -> int:
    return run_composed("evaluate", task, arguments)

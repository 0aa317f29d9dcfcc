"""Find the events of videos without annotations."""

from omegaconf import DictConfig

from loco.cli.configs import run_composed
from loco.runs.command.hydra_notes import keep_hydra_notes
from loco.runs.entry import user_errors
from loco.runs.processes import run_task


@user_errors
def task(config: DictConfig) -> None:
    keep_hydra_notes(config)
    run_task("loco.runs.predict.predict", config)


def main(arguments: list[str]) -> int:
    return run_composed("predict", task, arguments)

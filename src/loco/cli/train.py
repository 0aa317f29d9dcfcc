"""Train a detector, then test its best checkpoint."""

from omegaconf import DictConfig

from loco.cli.configs import run_composed
from loco.runs.entry import user_errors
from loco.runs.processes import run_task
from loco.sweeps.job import sweep_job


@user_errors
@sweep_job
def task(config: DictConfig) -> None:
    run_task(config.task, config)


def main(arguments: list[str]) -> int:
    return run_composed("train", task, arguments)

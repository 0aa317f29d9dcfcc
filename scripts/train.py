"""Train a detector, then test its best checkpoint: see --help."""

import hydra
from omegaconf import DictConfig

from loco.runs.entry import user_errors
from loco.runs.processes import run_task
from loco.sweeps.job import sweep_job


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
@user_errors
@sweep_job
def main(config: DictConfig) -> None:
    run_task(config.task, config)


if __name__ == "__main__":
    main()

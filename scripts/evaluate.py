"""Repeat the test of a checkpoint: see --help."""

import hydra
from omegaconf import DictConfig

from loco.runs.entry import user_errors
from loco.runs.processes import run_task


@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate")
@user_errors
def main(config: DictConfig) -> None:
    run_task("loco.runs.evaluate.evaluate", config)


if __name__ == "__main__":
    main()

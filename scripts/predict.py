"""Find the events of videos without annotations: see --help."""

import hydra
from omegaconf import DictConfig

from loco.runs.entry import user_errors
from loco.runs.processes import run_task


@hydra.main(version_base="1.3", config_path="../conf", config_name="predict")
@user_errors
def main(config: DictConfig) -> None:
    run_task("loco.runs.predict.predict", config)


if __name__ == "__main__":
    main()

"""Train a detector, then test its best checkpoint: see --help."""

import hydra
from omegaconf import DictConfig

from loco import runs
from loco.cli import user_errors


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
@user_errors
def main(config: DictConfig) -> None:
    runs.train(config)


if __name__ == "__main__":
    main()

"""Hydra's notes of the command that a run was started with, kept with the run."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from loco.runs.words import plain_without_secrets


def keep_hydra_notes(config: DictConfig) -> None:
    """Put Hydra's notes of the command into the run's folder, if it is another one than Hydra's.

    A run is gone on with by them. Values of secrets are replaced in them.
    """
    if not HydraConfig.initialized():
        return
    hydra = HydraConfig.get()
    source = Path(hydra.runtime.output_dir) / str(hydra.output_subdir)
    target = Path(config.output_dir) / ".hydra"
    for file in source.glob("*.yaml"):
        noted = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        shown = plain_without_secrets(noted)
        for folder in {source, target} if shown != noted else {target} - {source}:
            folder.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(OmegaConf.create(shown), folder / file.name)

"""Hydra's notes of the command that a run was started with, kept with the run."""

from __future__ import annotations

import shutil
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from loco.files import write_text
from loco.runs.command.quoting import HIDDEN, plain_without_secrets, secret_values

SHORTEST = 6
"""Letters that a secret has to be looked for everywhere: a shorter one is in other words."""


def keep_hydra_notes(config: DictConfig, begins: bool = False) -> None:
    """Put Hydra's notes of the command into the run's folder, if it is another one than Hydra's.

    Where a run lies there already, only once another one begins.

    A run is gone on with by them. Values of secrets are replaced in them. Several processes, each
    with a Hydra of its own, may write them at once: none reads what another one writes.
    """
    if not HydraConfig.initialized():
        return
    hydra = HydraConfig.get()
    source = Path(hydra.runtime.output_dir) / str(hydra.output_subdir)
    target = Path(config.output_dir) / ".hydra"
    occupied = target != source and (target.parent / "config.yaml").is_file()
    secrets = secret_values([*hydra.overrides.task, *hydra.overrides.hydra])
    notes = {
        "config.yaml": config,
        "hydra.yaml": HydraConfig.instance().cfg,
        "overrides.yaml": hydra.overrides.task,
    }
    for name, note in notes.items():
        if not (source / name).is_file():  # hydra.output_subdir=null
            continue
        noted = OmegaConf.to_container(note, resolve=False)
        text = OmegaConf.to_yaml(OmegaConf.create(plain_without_secrets(noted)))
        for value in secrets:  # also in what Hydra makes of them, as names of folders
            if len(value) >= SHORTEST:
                text = text.replace(value, HIDDEN)
        for folder in (source, target) if begins or not occupied else (source,):
            write_text(folder / name, text, shared=True)


def in_sweep() -> bool:
    """Whether this is a job of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def remove_empty_run() -> None:
    """Remove the folder that Hydra made for a command that failed before it left anything there."""
    if not HydraConfig.initialized() or in_sweep():
        return
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    own = {str(hydra.output_subdir), f"{hydra.job.name}.log"}
    if folder != Path.cwd() and {path.name for path in folder.glob("*")} <= own:
        shutil.rmtree(folder, ignore_errors=True)

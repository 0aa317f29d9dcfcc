"""Checkpoints: finding and loading them, and whether they fit what is asked of them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from loco.data.datamodule import AVDataModule
from loco.errors import CheckpointError
from loco.runs.settings import flat, refuse_former
from loco.training.module import LocalizationModule

log = logging.getLogger(__name__)

MODEL_KEYS = ("model", "attention", "correspondence")


def find_checkpoint(path: str | Path, best: bool = False) -> Path:
    """A checkpoint file, or a run's folder: its newest `last.ckpt`.

    Args:
        path: of either.
        best: in a folder, rather the newest `best.ckpt`, which is what a run tests.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(f"ckpt_path={path}: expected a checkpoint or a run's folder")
    for name in ("best.ckpt", "last.ckpt") if best else ("last.ckpt",):
        found = sorted(path.rglob(name), key=lambda file: file.stat().st_mtime)
        if found:
            return found[-1]
    raise CheckpointError(f"ckpt_path={path}: no last.ckpt in this folder")


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """The checkpoint at a path, its tensors on the CPU; only plain values are unpickled."""
    file = find_checkpoint(path)
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes torch raise
        raise CheckpointError(
            f"{file}: expected a checkpoint that this suite wrote, but reading it failed "
            f"({str(error).splitlines()[0][:100]})"
        ) from error
    if not isinstance(checkpoint, dict) or "model" not in checkpoint.get("hyper_parameters", {}):
        raise CheckpointError(f"{file}: a checkpoint, but not one that this suite wrote")
    refuse_former(checkpoint["hyper_parameters"], file, CheckpointError)
    return checkpoint


def build_module(config: dict[str, Any], **kwargs: Any) -> LocalizationModule:
    """A module from what a checkpoint keeps of its config: parts, channels and class names."""
    parts = OmegaConf.create({key: config[key] for key in MODEL_KEYS})
    detector = instantiate(
        parts.model,
        visual_channels=config["visual_channels"],
        audio_channels=config["audio_channels"],
        num_classes=len(config["class_names"]),
    )
    return LocalizationModule(detector, config["class_names"], config=config, **kwargs)


def load_module(path: str | Path) -> LocalizationModule:
    """The trained module in a checkpoint, or in a run's folder its best one.

    It is in evaluation mode and has the averaged weights.
    """
    checkpoint = load_checkpoint(find_checkpoint(path, best=True))
    module = build_module(checkpoint["hyper_parameters"])
    module.load_state_dict(checkpoint["state_dict"])
    return module.eval()


def check_resumes(file: Path, module: LocalizationModule, config: dict[str, Any]) -> int:
    """Refuse to go on with other weights than a checkpoint's; tell what else is different.

    Returns:
        the optimiser steps that were done.

    Raises:
        CheckpointError: the weights do not fit; names the settings that differ.
    """
    checkpoint = load_checkpoint(file)
    kept, state = checkpoint["hyper_parameters"], checkpoint["state_dict"]
    then, now = (flat(OmegaConf.create(settings)) for settings in (kept, config))
    differing = {
        key: key if key == "class_names" else f"{key} {then.get(key)} → {now.get(key)}"
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key) and not key.startswith(("data.root", "data.num_workers"))
    }
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    if shapes != {name: value.shape for name, value in state.items()}:
        parts = (*MODEL_KEYS, "visual_channels", "audio_channels", "class_names")
        changed = [text for key, text in differing.items() if key.partition(".")[0] in parts]
        raise CheckpointError(
            f"{file}: cannot go on with another model; give the overrides of its run again "
            f"(it had → now: {', '.join(changed)})"
        )
    if differing:
        log.warning("going on with other settings than before: %s", ", ".join(differing.values()))
    return int(checkpoint["global_step"])


def check_fits(file: Path, module: LocalizationModule, data: AVDataModule) -> None:
    """Refuse data whose channels or classes are not those that a checkpoint was trained on.

    Raises:
        CheckpointError: names what differs.
    """
    trained = module.hparams
    for name in ("visual_channels", "audio_channels"):
        if getattr(data, name) != trained[name]:
            raise CheckpointError(
                f"{file}: trained on {trained[name]} {name.replace('_', ' ')}, "
                f"but the files in {data.root} have {getattr(data, name)}"
            )
    if data.annotations is not None and data.class_names != module.class_names:
        raise CheckpointError(
            f"{file}: its {len(module.class_names)} classes are not the {data.num_classes} "
            f"of {data.annotations_path}"
        )

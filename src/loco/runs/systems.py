"""The systems that the suite has: what each is, what it costs, what it is trained with."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from loco.errors import SettingError
from loco.runs.cost import operations, random_batch
from loco.runs.settings import MODEL_GROUPS
from loco.structures import TimeGrid


class Sizes(NamedTuple):
    """What systems are measured on; the defaults are UnAV-100's I3D and VGGish features."""

    visual_channels: int = 2048
    audio_channels: int = 128
    num_classes: int = 100
    steps: int = 224


class System(NamedTuple):
    """One choice of the group `model`.

    Attributes:
        name: as in `model=NAME`.
        source: authors, title, year, where its class names them under "Source:".
        parameters: their number.
        gflop: 2 × MAC of one video's forward pass, in 10⁹.
        settings: its plain values and the choices that it takes of groups, learning rate, epochs.
    """

    name: str
    source: str
    parameters: int
    gflop: float
    settings: dict[str, Any]


def model_names(conf: Path, own: Path | None = None) -> list[str]:
    """The choices of the group `model`, in the installed configurations and one's own."""
    folders = [folder / "model" for folder in (conf, own) if folder is not None]
    found = {file.stem for folder in folders for file in folder.glob("*.yaml")}
    return sorted(found - {"base"})


def describe_system(name: str, conf: Path, own: Path | None, sizes: Sizes) -> System:
    """Build a system on the CPU and look at it; nothing is trained.

    Raises:
        SettingError: there is none of that name, or it cannot be built.
    """
    config = _composed(name, conf, own)
    try:
        detector = instantiate(
            config.model,
            visual_channels=sizes.visual_channels,
            audio_channels=sizes.audio_channels,
            num_classes=sizes.num_classes,
        ).eval()
    except InstantiationException as error:
        raise SettingError(
            f"model={name}: {str(error.__cause__ or error).splitlines()[0]}"
        ) from error
    grid = TimeGrid(fps=25, window=24, stride=8)
    channels = (sizes.visual_channels, sizes.audio_channels)
    batch = random_batch(1, sizes.steps, *channels, grid)
    with torch.no_grad(), operations() as counter:
        detector(batch.visual, batch.audio, batch.mask)
    return System(
        name,
        source_of(get_class(config.model._target_)),
        sum(parameter.numel() for parameter in detector.parameters()),
        counter.get_total_flops() / 1e9,
        _settings(config),
    )


def source_of(detector: type) -> str:
    """What a class says of its origin: the paragraph of its docstring that begins with Source."""
    paragraphs = (inspect.getdoc(detector) or "").split("\n\n")
    found = (text for text in paragraphs if text.startswith("Source:"))
    return " ".join(next(found, "").removeprefix("Source:").split()).removesuffix(".")


def _composed(name: str, conf: Path, own: Path | None) -> DictConfig:
    overrides = [f"model={name}", "output_dir=."]
    if own is not None:
        overrides.append(f"hydra.searchpath=['file://{own.absolute()}']")
    try:
        with initialize_config_dir(str(conf), version_base="1.3"):
            return compose("train", overrides=overrides)
    except HydraException as error:
        raise SettingError(f"model={name}: {str(error).splitlines()[0]}") from None


def _settings(config: DictConfig) -> dict[str, Any]:
    """What of a configuration is the system's own, plain values alone."""
    model = OmegaConf.to_container(config.model, resolve=True)
    assert isinstance(model, dict)
    plain = {
        str(key): value
        for key, value in model.items()
        if key not in ("_target_", *MODEL_GROUPS) and not isinstance(value, dict)
    }
    for group in MODEL_GROUPS:
        if isinstance(part := model.get(group), dict):
            plain[group] = str(part.get("_target_")).rpartition(".")[2]
    return plain | {"lr": config.optimizer.lr, "epochs": config.trainer.max_epochs}


def rows_of(systems: Sequence[System]) -> list[dict[str, Any]]:
    """Plain values, a dict a system."""
    return [system._asdict() for system in systems]

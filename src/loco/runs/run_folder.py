"""A finished run's folder, read back as the values that figures and the report draw."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import dropwhile
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from loco.data.annotations import Annotations, Video, read_annotations
from loco.data.datamodule import AVDataModule
from loco.errors import AnnotationError, LocoError
from loco.evaluation.bootstrap import WeightedMAP
from loco.files import read_yaml
from loco.runs.checkpoints import load_module
from loco.runs.command.overrides import options_last
from loco.runs.command.quoting import without_secrets
from loco.runs.job_status import read_metrics, starts
from loco.runs.logs import Curve, read_log
from loco.runs.predictions import read_predictions
from loco.runs.results import TABLE_COLUMNS, detailed_metrics, evaluation_columns
from loco.runs.settings import read_config, reading_data, refuse_former
from loco.runs.trusted import build_trusted
from loco.structures import Events
from loco.training.module import LocalizationModule

ROUNDING = 1e-3
"""How far metrics.json may be from what predictions.json says, whose scores are rounded."""

SWEEPS = ("-m", "--multirun")
"""Hydra's option that makes a command a sweep."""


class RunFolder:
    """What `loco train` left; each part is read when it is first asked for.

    Args:
        path: the folder.
        trust: packages besides this suite whose classes its files may name.

    Raises:
        LocoError: there is no such folder, or no config.yaml and metrics.json in it; likewise from
            each part whose file is missing or damaged.
    """

    def __init__(self, path: str | Path, trust: Sequence[str] = ()) -> None:
        self.path = Path(path)
        self.trust = tuple(trust)
        for name in ("config.yaml", "metrics.json"):
            if not (self.path / name).is_file():
                raise LocoError(f"{self.path}: expected the folder of a finished run, no {name}")

    @cached_property
    def config(self) -> DictConfig:
        """The run's whole configuration."""
        config = read_config(self.path / "config.yaml")
        refuse_former(config, self.path)
        return config

    @property
    def evaluated(self) -> bool:
        """Whether it is a repeated test, without a training."""
        return str(self.config.get("task", "")).startswith("loco.runs.evaluate.")

    @cached_property
    def overrides(self) -> list[str]:
        """The words that it was started with, where Hydra noted them; secrets are left out."""
        noted = self.path / ".hydra" / "overrides.yaml"
        if not noted.is_file():
            return []
        words = OmegaConf.to_container(read_yaml(noted))
        return without_secrets(map(str, words))  # type: ignore[arg-type]

    @cached_property
    def choices(self) -> dict[str, str]:
        """The option that was chosen of each group, such as `model`, where Hydra noted it."""
        noted = self.path / ".hydra" / "hydra.yaml"
        if not noted.is_file():
            return {}
        chosen = OmegaConf.select(read_yaml(noted), "hydra.runtime.choices") or {}
        return {str(group): str(option) for group, option in chosen.items() if option is not None}

    @property
    def command(self) -> str | None:
        """The command line that started it last, as noted then; secrets are left out.

        Of a sweep's job the one that runs this job alone; of a run that notes none, by what Hydra
        noted; None without that.
        """
        noted = self._noted_command
        sweep = any(word in SWEEPS for word in noted)
        if (noted and not sweep) or not (self.path / ".hydra" / "overrides.yaml").is_file():
            return shlex.join(noted) or None
        options = dropwhile(lambda word: not word.startswith("-"), options_last(noted))
        words = [*self.overrides, *(word for word in options if word not in SWEEPS)]
        return shlex.join(["loco", "evaluate" if self.evaluated else "train", *words])

    @property
    def _noted_command(self) -> list[str]:
        """The words of the last start's command; none where it is not noted, or damaged."""
        command = noted[-1].get("command") if (noted := starts(self.path)) else None
        try:
            return without_secrets(shlex.split(command)) if isinstance(command, str) else []
        except ValueError:  # a quote that does not end
            return []

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The mAPs of metrics.json; NaN where it has null."""
        numbers = {k: v for k, v in self._metrics_file.items() if k.startswith("mAP")}
        if lacking := [name for name in TABLE_COLUMNS if name not in numbers]:
            raise LocoError(f"{self.path / 'metrics.json'}: expected {lacking[0]}, it has none")
        return {name: float("nan") if v is None else float(v) for name, v in numbers.items()}

    @cached_property
    def details(self) -> dict[str, Any]:
        """`per_class` and `diagnosis` of metrics.json, see `loco.runs.results`."""
        if self._metrics_file.get("per_class") and self._metrics_file.get("diagnosis"):
            return self._metrics_file
        return detailed_metrics(self.predictions, self.test_videos, self.annotations.class_names)

    @cached_property
    def _metrics_file(self) -> dict[str, Any]:
        return read_metrics(self.path / "metrics.json")

    @cached_property
    def predictions(self) -> dict[str, Events]:
        """The detections of each test video."""
        return read_predictions(self.path / "predictions.json")

    @cached_property
    def log(self) -> dict[str, Curve]:
        """The curves of the training, by name."""
        return read_log(self.path / "logs" / "metrics.csv")

    @property
    def curves(self) -> dict[str, Curve]:
        """The same, and none where there is no log."""
        try:
            return self.log
        except LocoError:
            return {}

    @cached_property
    def data(self) -> AVDataModule:
        """The data set that the config describes, not set up."""
        settings = reading_data(self.config.data)
        data = build_trusted(settings, self.path / "config.yaml", self.trust)
        assert isinstance(data, AVDataModule)
        data.known_classes = self._class_names
        return data

    @cached_property
    def annotations(self) -> Annotations:
        """The annotations that the run was tested against."""
        if self.data.annotations_path is None:
            raise AnnotationError(f"{self.path}: the run's config names no annotation file")
        path, names = self.data.annotations_path, self._class_names
        try:
            changed = path.stat().st_mtime_ns
        except OSError:  # reading it says why
            changed = 0
        return _annotations(path, None if names is None else tuple(names), changed)

    @cached_property
    def _class_names(self) -> list[str] | None:
        """Those of the model, by id, which metrics.json names in their order."""
        kept = self.config.data.get("class_names") or self._metrics_file.get("per_class")
        return list(kept) if kept else None

    @cached_property
    def test_videos(self) -> list[Video]:
        """The videos that the run was tested on, by id.

        Raises:
            LocoError: the annotation file lacks one of them, or has other events of them by now
                than metrics.json counts.
        """
        videos = self._annotated
        score, noted = self.weighted(np.ones(len(videos))), self.metrics.get("mAP", math.nan)
        if videos and not (math.isnan(noted) or abs(score - noted) <= ROUNDING):
            raise LocoError(
                f"{self.path}: its predictions have an mAP of {score:.4f} on the events of "
                f"{self.data.annotations_path}, and its metrics.json says {noted:.4f}: "
                "the annotations have changed since"
            )
        return videos

    @cached_property
    def weighted(self) -> WeightedMAP:
        """The mAP of its predictions, to be asked with a weight of each test video."""
        return WeightedMAP(
            evaluation_columns(self.predictions, self._annotated), len(self._annotated)
        )

    @cached_property
    def _annotated(self) -> list[Video]:
        if unknown := [i for i in sorted(self.predictions) if i not in self.annotations]:
            raise LocoError(
                f"{self.data.annotations_path}: has no video {unknown[0]!r}, which {self.path} was "
                "tested on"
            )
        return [self.annotations[video_id] for video_id in sorted(self.predictions)]

    def module(self) -> LocalizationModule:
        """The trained module: the best checkpoint, or the last one where there is no best."""
        best = self.path / "checkpoints" / "best.ckpt"
        return load_module(best if best.is_file() else self.path, self.trust)


@lru_cache(maxsize=8)
def _annotations(path: Path, names: tuple[str, ...] | None, changed: int) -> Annotations:
    """What runs that are read together share, as it was at a time in nanoseconds."""
    return read_annotations(path, names)

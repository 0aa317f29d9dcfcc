"""A job of a sweep by what it left in its folder: settings, results, costs, the end of its log."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from loco.errors import LocoError
from loco.files import read_yaml
from loco.runs.job_status import (
    RESULTS,
    Status,
    overrides_of,
    read_metrics,
    settings_in_turn,
    starts,
    status,
)
from loco.runs.logs import read_log
from loco.runs.settings import flat

MISSING = "–"
OPTIONS = re.compile(r"\[([A-Za-z_]\w*(,|(?=\])))*\]")
"""A list of options of a group, such as `[mismatch,quality]`; no list of numbers."""


@dataclass(frozen=True)
class Job:
    """A job of a sweep, or a single run, by its folder."""

    folder: Path

    @cached_property
    def status(self) -> Status:
        return status(self.folder)

    @cached_property
    def overrides(self) -> dict[str, str]:
        """What the command line and the sweep set, by key."""
        return overrides_of(self.folder)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Its whole configuration by dotted key, and its choices of groups by group."""
        notes = self.folder / ".hydra"
        choices = OmegaConf.select(read_yaml(notes / "hydra.yaml"), "hydra.runtime.choices")
        config = read_yaml(notes / "config.yaml")
        if choices is None or not OmegaConf.is_dict(config):
            raise LocoError(f"{notes}: expected what Hydra notes of a job")
        return flat(config, resolve=False) | dict(choices)

    @cached_property
    def seed(self) -> str:
        return self.value("seed")

    @cached_property
    def results(self) -> dict[str, float]:
        """The numbers that it left; NaN for null."""
        for name in RESULTS:
            if (self.folder / name).is_file():
                content = read_metrics(self.folder / name)
                numbers = {k: math.nan if v is None else v for k, v in content.items()}
                return {k: float(v) for k, v in numbers.items() if isinstance(v, int | float)}
        return {}

    @cached_property
    def logged(self) -> dict[str, float]:
        """The last value of each logged curve, its highest as `max NAME`; nothing without a log."""
        path = self.folder / "logs" / "metrics.csv"
        if not path.is_file():
            return {}
        curves = read_log(path)
        last = {name: float(curve.values[-1]) for name, curve in curves.items()}
        return last | {f"max {name}": highest(curve.values) for name, curve in curves.items()}

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What its last start noted (`loco.runs.provenance`); empty where nothing is noted."""
        noted = starts(self.folder)
        return noted[-1] if noted else {}

    @cached_property
    def settings_in_turn(self) -> list[str]:
        """As `loco.runs.job_status.settings_in_turn`."""
        return settings_in_turn(self.folder)

    @cached_property
    def cost(self) -> dict[str, float]:
        """What its training took (`loco.runs.cost.training_cost`); empty where nothing is noted."""
        try:
            return {name: float(value) for name, value in self.provenance["cost"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}

    def result(self, name: str) -> float:
        """A number that it left: a metric, a cost, or what is `logged`; else NaN."""
        for numbers in ("results", "cost", "logged"):  # each is read where it is needed
            if name in (found := getattr(self, numbers)):
                return float(found[name])
        return math.nan

    def value(self, key: str) -> str:
        """A setting, whether an override or a default; the same text for the same value."""
        return plain_text(self.overrides.get(key, self.settings.get(key, MISSING)))


def highest(values: np.ndarray) -> float:
    """The highest value that is a number; NaN where none is."""
    return float(np.fmax.reduce(values))


_QUOTED = re.compile(r"""(['"])(?!(?:null|none|true|false)\1)([a-z_]\w*)\1""", re.IGNORECASE)
"""A word that Hydra reads as the same text without its quotes."""


def plain_text(value: Any) -> str:
    """A value as tables write it: 1 for 1.0, a dash for none, lists without spaces."""
    text = str(value)
    if re.fullmatch(r"\[.*\]|\{.*\}", text):
        return re.sub(r"\s*([,:\[\]{}])\s*", r"\1", _QUOTED.sub(r"\2", text))
    if word := _QUOTED.fullmatch(text):
        return word[2]
    if text.lower() in ("true", "false"):
        return text.lower()
    if text in ("None", "null"):
        return MISSING
    try:
        return f"{float(text):.12g}"
    except ValueError:
        return text

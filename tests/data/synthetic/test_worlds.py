"""The worlds that `data=synthetic…` names: what each is there for holds of what it makes."""

from __future__ import annotations

import numpy as np
import pytest
from hydra.utils import instantiate

from helpers import compose_config
from loco.data.synthetic.config import SyntheticConfig
from loco.data.synthetic.events import leading_classes
from loco.data.synthetic.names import NAMES, class_names
from loco.data.synthetic.rendering import World


def world_of(name: str) -> SyntheticConfig:
    """The generator's settings of `data=NAME`."""
    data = instantiate(compose_config("train", [f"data={name}", "output_dir=x"]).data)
    assert data.folder.name == name
    return data.generator


def neighbours(config: SyntheticConfig) -> float:
    """The mean cosine of the prototypes that are alike on the ring, of both modalities."""
    found = []
    for modality, first in (("audio", 0), ("visual", 1)):
        rows = World(config).prototypes[modality]
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        pairs = np.arange(first, len(rows) - 1, 2)
        found.append((rows[pairs] * rows[pairs + 1]).sum(1).mean())
    return float(np.mean(found))


def test_a_hundred_classes_have_unav100s_names_and_are_all_seen() -> None:
    config = world_of("synthetic_100")
    assert class_names(config.num_classes) == list(NAMES)
    for subset, count in zip(("train", "validation", "test"), config.num_videos, strict=True):
        assert set(leading_classes(config, subset, count)) == set(range(100))


def test_distinct_classes_are_alike_in_no_modality() -> None:
    assert neighbours(world_of("synthetic")) == pytest.approx(0.95, abs=0.02)
    assert neighbours(world_of("synthetic_distinct")) == pytest.approx(0, abs=0.15)

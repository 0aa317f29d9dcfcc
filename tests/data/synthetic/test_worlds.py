"""The worlds that `data=synthetic…` names: what each is there for holds of what it makes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hydra.utils import instantiate

from helpers import compose_config
from loco.data.synthetic.config import SyntheticConfig
from loco.data.synthetic.events import draw_video, leading_classes
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


def test_the_confirming_world_is_another_one() -> None:
    """Of the same channels, so that every model fits; else different in all that makes it."""
    default, confirming = world_of("synthetic"), world_of("synthetic_confirm")
    for name in ("visual_channels", "audio_channels", "difficulty", "dtype", "uneven"):
        assert getattr(confirming, name) == getattr(default, name), name
    for name in ("seed", "num_classes", "frequency_exponent", "alike", "drift", "drift_dim",
                 "drift_seconds", "lag_seconds", "offscreen_per_video", "silent_per_video",
                 "overhang", "latent_dim"):  # fmt: skip
        assert getattr(confirming, name) != getattr(default, name), name
    assert confirming.num_videos[2] == 600


def test_the_world_to_choose_by_trains_on_the_default_ones_videos() -> None:
    """A video depends on nothing but its name, the world and the class that leads it."""
    default, choosing = world_of("synthetic"), world_of("synthetic_choose")
    assert replace(choosing, num_videos=default.num_videos) == default
    assert choosing.num_videos[0] == default.num_videos[0]
    assert choosing.num_videos[1] == 600
    leading = [leading_classes(config, "train", 400) for config in (default, choosing)]
    assert np.array_equal(*leading)
    one, other = (draw_video(config, "train_00007", 3) for config in (default, choosing))
    assert one.events == other.events

"""Shared by all tests: one thread a process, and a small synthetic data set made once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

ROOT = Path(__file__).parents[1]

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")
torch.set_num_threads(1)

TINY_DATA = [
    "+data.generator.num_videos=[12,4,5]",
    "+data.generator.num_classes=3",
    "+data.generator.visual_channels=[4,3]",
    "+data.generator.audio_channels=[5]",
    "data.batch_size=4",
]
TINY_MODEL = ["model.dim=16", "model.heads=2"]
QUIET = [
    "callbacks.progress=null",
    "callbacks.summary=null",
    "+trainer.enable_progress_bar=false",
    "+trainer.enable_model_summary=false",
    "trainer.accelerator=cpu",
]

Composer = Callable[..., DictConfig]


def compose_config(name: str, overrides: list[str]) -> DictConfig:
    """A config as `python scripts/{name}.py {overrides}` would compose it."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose(name, overrides=overrides)


@pytest.fixture(scope="session")
def synthetic_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the small synthetic data set is made by whoever needs it first."""
    return tmp_path_factory.mktemp("data") / "synthetic"


@pytest.fixture
def tiny(synthetic_root: Path, tmp_path: Path) -> Composer:
    """Composes a training run of seconds, into a folder of its own."""

    def composer(*overrides: str, output: str = "run") -> DictConfig:
        return compose_config(
            "train",
            [
                f"data.root={synthetic_root}",
                f"output_dir={tmp_path / output}",
                "trainer.max_epochs=2",
                *TINY_DATA,
                *TINY_MODEL,
                *QUIET,
                *overrides,
            ],
        )

    return composer

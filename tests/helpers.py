"""What tests share besides fixtures: composing configs, and a way to stop a run early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from loco.data.datamodule import AVDataModule
from loco.training.module import LocalizationModule

ROOT = Path(__file__).parents[1]

TINY_DATA = [
    "+data.generator.num_videos=[12,4,5]",
    "+data.generator.num_classes=3",
    "+data.generator.visual_channels=[4,3]",
    "+data.generator.audio_channels=[5]",
    "data.batch_size=4",
]
TINY_MODEL = ["model.dim=16", "model.heads=2"]
QUIET = [
    "report=false",
    "callbacks.progress=null",
    "callbacks.summary=null",
    "+trainer.enable_progress_bar=false",
    "+trainer.enable_model_summary=false",
    "trainer.accelerator=cpu",
]

Composer = Callable[..., DictConfig]


def compose_config(name: str, overrides: list[str]) -> DictConfig:
    """A config as `loco {name} {overrides}` would compose it."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose(name, overrides=overrides)


def tiny_config(
    root: Path, output: Path, *overrides: str, model: Sequence[str] = TINY_MODEL
) -> DictConfig:
    """A training run of seconds, two epochs on the data below `root`; `model` makes it narrow."""
    settings = [f"data.root={root}", f"output_dir={output}", "trainer.max_epochs=2"]
    return compose_config("train", [*settings, *TINY_DATA, *model, *QUIET, *overrides])


def last_checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same(first: Any, second: Any, path: str = "") -> None:
    """Equal to the bit, through dicts and lists; names the first place that differs."""
    assert type(first) is type(second), path
    if isinstance(first, dict):
        assert first.keys() == second.keys(), path
        for key in first:
            assert_same(first[key], second[key], f"{path}/{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), path
        for i, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_same(a, b, f"{path}/{i}")
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), path
    else:
        assert first == second, path


class Stopped(Exception):
    """Stands for whatever ends a run early."""


class StopAfter(lightning.Callback):
    """Ends a run at the start of an epoch, once everything of the one before is done."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        if trainer.current_epoch == self.epoch:
            raise Stopped


class InterruptAfter(StopAfter):
    """Ctrl-C at the start of an epoch."""

    def on_train_epoch_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        if trainer.current_epoch == self.epoch:
            raise KeyboardInterrupt


class Noted(lightning.Callback):
    """A step of a user's own at the end of a run: says what it was given."""

    def on_results(self, folder: Path, module: LocalizationModule, data: AVDataModule) -> None:
        files = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_file()))
        note = f"{len(module.class_names)} classes, {type(data).__name__}: {files}"
        (folder / "noted.txt").write_text(note, encoding="utf-8")


class Failing(lightning.Callback):
    """One that has a fault."""

    def on_results(self, folder: Path, module: LocalizationModule, data: AVDataModule) -> None:
        raise KeyError("no such thing")


def open_page(browser: Any, page: Path, width: int = 1280, height: int = 800) -> None:
    """Show a page in a window of this size; below 600 it is a phone's."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(page.as_uri())


def inside(browser: Any, selector: str) -> str:
    """HTML within the first element that a CSS selector finds."""
    return browser.execute_script("return document.querySelector(arguments[0]).innerHTML", selector)


def count(browser: Any, selector: str) -> int:
    """How many elements a CSS selector finds."""
    return browser.execute_script("return document.querySelectorAll(arguments[0]).length", selector)

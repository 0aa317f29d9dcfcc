"""Shared by all tests: one thread a process, and a small synthetic data set made once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from helpers import QUIET, TINY_MODEL, Composer, compose_config, tiny_config
from loco.runs.command.quoting import COMMAND
from loco.runs.train import train

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_command_of_before() -> Iterator[None]:
    """A command in this process leaves notes of it, which the next run would keep."""
    yield
    HydraConfig.instance().cfg = None
    os.environ.pop(COMMAND, None)


@pytest.fixture(scope="session")
def synthetic_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the small synthetic data set is made by whoever needs it first."""
    return tmp_path_factory.mktemp("data") / "synthetic"


@pytest.fixture
def tiny(synthetic_root: Path, tmp_path: Path) -> Composer:
    """Composes a training run of seconds, into a folder of its own."""

    def composer(*overrides: str, output: str = "run") -> DictConfig:
        return tiny_config(synthetic_root, tmp_path / output, *overrides)

    return composer


@pytest.fixture
def own(tiny: Composer, tmp_path: Path) -> Composer:
    """Composes a training on a copy of the small data set, read as any other data set."""
    made = instantiate(tiny().data)
    made.prepare_data()
    root = tmp_path / "own"
    shutil.copytree(made.folder, root)

    def composer(*overrides: str, output: str = "run") -> DictConfig:
        return compose_config(
            "train",
            [
                "data=unav100_i3d_vggish", f"data.root={root / 'features'}", "data.num_workers=0",
                f"data.annotations={root / 'annotations.json'}", "data.batch_size=4",
                f"output_dir={tmp_path / output}", "trainer.max_epochs=1",
                *TINY_MODEL, *QUIET, *overrides,
            ],
        )  # fmt: skip

    return composer


@pytest.fixture(scope="session")
def finished_run(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small finished run; tests read it, and write nowhere in it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(tiny_config(synthetic_root, folder, "trainer.log_every_n_steps=1"))
    return folder


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium; tests skip where there is none."""
    chromium = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None
    )
    chromedriver = shutil.which("chromedriver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    if chromium is None or chromedriver is None:
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
        "disable-background-networking", "disable-component-update", "disable-sync",
        f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(executable_path=chromedriver)
    )
    yield driver
    driver.quit()

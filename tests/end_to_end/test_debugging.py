"""The settings for finding faults, and those of the trainer that make a run smaller or larger."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from helpers import QUIET, TINY_DATA, TINY_MODEL, Composer, compose_config, run_loco
from loco.errors import SettingError
from loco.runs.entry import USER_ERRORS, readable
from loco.runs.job_status import status
from loco.runs.logs import read_log
from loco.runs.processes import run_task
from loco.runs.train import train
from loco.training.module import LocalizationModule
from loco.training.optim import AdamW

# -- debug= ----------------------------------------------------------------------------------------


def test_fast_is_no_finished_run(
    tiny: Composer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny("debug=fast"))
    assert "this run" in capsys.readouterr().out
    assert status(tmp_path / "run") == "unfinished"
    left = {path.name for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert left == {"config.yaml", "provenance.json"}


def test_debugging_has_a_folder_of_its_own(synthetic_root: Path, tmp_path: Path) -> None:
    words = [*TINY_DATA, *TINY_MODEL, *QUIET, f"data.root={synthetic_root}"]
    done = run_loco("train", "debug=fast", *words, cwd=tmp_path)
    assert done.code == 0, done.out
    (run,) = (tmp_path / "outputs" / "debug").iterdir()
    assert (run / "config.yaml").is_file()
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["debug"]


@pytest.mark.slow
def test_one_batch_is_learnt_by_heart(tiny: Composer, tmp_path: Path) -> None:
    # a divisor that need not come down from 250 first
    words = ["trainer.max_epochs=80", "optimizer.lr=0.01", "+model.criterion.normalizer=10"]
    train(tiny("debug=overfit", *words))
    losses = read_log(tmp_path / "run" / "logs" / "metrics.csv")["train/loss"].values
    assert len(losses) == 80
    assert losses[-3:].mean() < 0.5 * losses[0]


@pytest.mark.slow
def test_the_profile_is_left_in_the_folder(tiny: Composer, tmp_path: Path) -> None:
    train(tiny("debug=profiler"))
    text = (tmp_path / "run" / "fit-profile.txt").read_text(encoding="utf-8")
    assert "run_training_batch" in text


@pytest.mark.slow
def test_anomaly_detection_is_on(tiny: Composer) -> None:
    config = tiny("debug=anomaly", "trainer.max_epochs=1")
    assert config.trainer.detect_anomaly is True
    assert 0 <= train(config)["mAP"] <= 1


# -- callbacks=[default,early_stopping] ------------------------------------------------------------


@pytest.mark.slow
def test_a_training_that_gets_no_better_ends(tiny: Composer, tmp_path: Path) -> None:
    """Nothing is learnt at rate 0: the first validation is the best one."""
    words = ["callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=2"]
    train(tiny(*words, "optimizer.lr=0", "callbacks.ema=null", "trainer.max_epochs=20"))
    curve = read_log(tmp_path / "run" / "logs" / "metrics.csv")["val/mAP"]
    assert len(curve.values) == 3
    assert torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)["epoch"] == 0


# -- trainer.accumulate_grad_batches ---------------------------------------------------------------


class Line(torch.nn.Module):
    """Its loss is a mean over the videos of a batch: two halves weigh as the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(-1, 1, 5, dtype=torch.float64))

    def losses(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss_cls": (batch @ self.weight - 1).square().mean()}


def fitted(folder: Path, batch: int, accumulate: int) -> tuple[torch.Tensor, list[float]]:
    """Weights after three epochs of 8 videos, and the learning rate of each optimiser step."""
    rates: list[float] = []

    class Rates(lightning.Callback):
        def on_before_zero_grad(self, trainer: Any, module: Any, optimizer: Any) -> None:
            rates.append(optimizer.param_groups[0]["lr"])

    module = LocalizationModule(Line(), ["a"], optimizer=AdamW(lr=0.1, warmup_epochs=1))
    trainer = lightning.Trainer(
        max_epochs=3, accumulate_grad_batches=accumulate, gradient_clip_val=1.0,
        accelerator="cpu", logger=False, limit_val_batches=0, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=folder,
        callbacks=[Rates()],
    )  # fmt: skip
    videos = torch.from_numpy(np.random.default_rng(0).normal(size=(8, 5)))
    trainer.fit(module, DataLoader(videos, batch_size=batch))
    assert trainer.global_step == 24 // (batch * accumulate)
    return module.detector.weight.detach(), rates


def test_accumulated_batches_are_the_larger_batch(tmp_path: Path) -> None:
    """Exactly where a loss is a mean over videos; the schedule counts optimiser steps."""
    whole, rates = fitted(tmp_path, 4, 1)
    parts, same = fitted(tmp_path, 2, 2)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)
    assert same == pytest.approx(rates)
    assert len(rates) == 6


# -- trainer.compile, trainer.num_nodes ------------------------------------------------------------


def test_compiling_without_a_compiler_is_a_line(
    tiny: Composer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(USER_ERRORS) as caught:
        train(tiny("trainer.compile=true"))
    assert readable(caught.value).startswith("trainer: compile=true needs a C++ compiler, and th")


@pytest.mark.slow
def test_compiled_losses_are_those_of_the_plain_ones(tiny: Composer, tmp_path: Path) -> None:
    common = ["trainer.max_epochs=1", "trainer.log_every_n_steps=1", "attention=none",
              "correspondence=none", "model.num_levels=1", "model.encoder_blocks=0",
              "model.num_convs=1", "model.decoder_blocks=0"]  # fmt: skip
    train(tiny(*common, output="plain"))
    train(tiny(*common, "trainer.compile=true", output="compiled"))
    plain, compiled = (
        read_log(tmp_path / name / "logs" / "metrics.csv")["train/loss"].values
        for name in ("plain", "compiled")
    )
    np.testing.assert_allclose(compiled, plain, rtol=1e-3)


def test_several_machines_need_processes_on_them() -> None:
    config = compose_config("train", ["trainer.num_nodes=2", "output_dir=x"])
    with pytest.raises(SettingError, match=r"num_nodes=2: torchrun or srun has to start"):
        run_task("loco.runs.train.train", config)


@pytest.mark.slow
def test_torchrun_starts_two_processes(synthetic_root: Path, tmp_path: Path) -> None:
    """They write to one folder, and test each video once."""
    words = [
        f"data.root={synthetic_root}", *TINY_DATA, *TINY_MODEL, *QUIET, "trainer=ddp",
        "trainer.devices=2", "trainer.max_epochs=1", "data.batch_size=2",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "loco.cli",
         "train", *words],
        cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "outputs" / "train").iterdir()
    assert status(run) == "finished"
    assert len(json.loads((run / "predictions.json").read_text())["database"]) == 5
    assert len(re.findall(r"constant predictor", done.stdout)) == 1
    assert json.loads((run / "provenance.json").read_text())["starts"][0]["processes"] == 2

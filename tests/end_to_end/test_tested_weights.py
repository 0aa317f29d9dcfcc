"""Which weights a run tests: always told, always the averaged ones where there are any."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from helpers import Composer
from loco.runs.checkpoints import load_module
from loco.runs.logs import read_log
from loco.runs.train import train

FIRST, SECOND = (f"last.ckpt of epoch {epoch}, averaged weights" for epoch in (1, 2))


def without_validation_events(root: Path) -> None:
    """Take the events out of the validation split: its mAP is no number then."""
    path = root / "annotations.json"
    content = json.loads(path.read_text())
    for video in content["database"].values():
        if video["subset"] == "validation":
            video["annotations"] = []
    path.write_text(json.dumps(content))


def flat(printed: str) -> str:
    return " ".join(printed.split())


def same_weights(folder: Path, name: str) -> bool:
    """Whether a module of a run's folder has the averaged weights of a checkpoint in it."""
    checkpoint = torch.load(folder / "checkpoints" / name, weights_only=True)
    module = load_module(folder / "checkpoints" / name)
    state = module.state_dict()
    return all(torch.equal(state[key], value) for key, value in checkpoint["state_dict"].items())


def test_a_validation_without_a_number_chooses_nothing(
    own: Composer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first epoch would be the best one for Lightning."""
    without_validation_events(tmp_path / "own")
    train(own("trainer.max_epochs=2"))
    assert math.isnan(read_log(tmp_path / "run/logs/metrics.csv")["val/mAP"].values[0])
    assert not (tmp_path / "run/checkpoints/best.ckpt").exists()
    assert f"tested: {SECOND} (no validation mAP to choose by)" in flat(capsys.readouterr().out)
    assert same_weights(tmp_path / "run", "last.ckpt")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("+trainer.limit_val_batches=0", f"{FIRST} (no validation mAP to choose by)"),
        ("callbacks.best=null", f"{FIRST} (callbacks.best is left out)"),
        (
            "+trainer.fast_dev_run=true",
            "the averaged weights at the end (no validation mAP to choose by, none was saved)",
        ),
        ("callbacks.ema=null", "(the best validation mAP, "),
    ],
)
def test_other_weights_are_named_too(
    tiny: Composer, capsys: pytest.CaptureFixture[str], override: str, told: str
) -> None:
    train(tiny(override, "trainer.max_epochs=1"))
    printed = flat(capsys.readouterr().out)
    assert f"{told}" in printed
    assert ("averaged" in printed) == (override != "callbacks.ema=null")


def test_a_moved_run_is_resumed_with_its_best_checkpoint(
    tiny: Composer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first epoch stays the best, since nothing is learnt; the old path is gone."""
    settings = ["optimizer.lr=0.0", "callbacks.ema=null"]
    train(tiny(*settings, "trainer.max_epochs=1", output="old"))
    shutil.move(tmp_path / "old", tmp_path / "new")
    best = (tmp_path / "new/checkpoints/best.ckpt").read_bytes()
    capsys.readouterr()
    train(tiny(*settings, f"ckpt_path={tmp_path / 'new'}"))
    assert (tmp_path / "run/checkpoints/best.ckpt").read_bytes() == best
    assert "tested: best.ckpt of epoch 1 (" in flat(capsys.readouterr().out)


@pytest.mark.slow
def test_a_best_checkpoint_that_is_gone_is_told(
    tiny: Composer, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    train(tiny(output="old"))
    (tmp_path / "old/checkpoints/best.ckpt").unlink()
    capsys.readouterr()
    train(tiny("trainer.max_epochs=3", f"ckpt_path={tmp_path / 'old'}"))
    assert "the best checkpoint so far (val/mAP" in caplog.text
    assert "tested: best.ckpt of epoch 3, averaged weights" in flat(capsys.readouterr().out)
    # a finished run, resumed: no epoch is left, so that nothing new was saved
    train(tiny("trainer.max_epochs=2", f"ckpt_path={tmp_path / 'old'}", output="again"))
    assert "tested: last.ckpt of epoch 2, averaged weights" in flat(capsys.readouterr().out)


@pytest.mark.slow
def test_resumed_for_more_epochs_the_rate_follows_the_new_length(
    tiny: Composer, tmp_path: Path
) -> None:
    train(tiny("optimizer.warmup_epochs=0", output="old"))
    more = ["optimizer.warmup_epochs=0", "trainer.max_epochs=4"]
    train(tiny(*more, f"ckpt_path={tmp_path / 'old'}", "trainer.log_every_n_steps=1"))
    rates = read_log(tmp_path / "run/logs/metrics.csv")["train/lr"].values
    steps, total = torch.arange(6, 12), 12
    expected = 0.5 * (1 + torch.cos(torch.pi * steps / total)) * 2e-3
    assert rates[-6:] == pytest.approx(expected.tolist(), rel=1e-4)


@pytest.mark.slow
def test_an_optimizer_setting_given_at_a_resume_counts(tiny: Composer, tmp_path: Path) -> None:
    """Not what the checkpoint's optimiser was made with."""
    train(tiny("optimizer.warmup_epochs=0", output="old"))
    given = ["optimizer.warmup_epochs=0", "optimizer.lr=0.01", "optimizer.weight_decay=0.5"]
    more = ["trainer.max_epochs=4", f"ckpt_path={tmp_path / 'old'}", "trainer.log_every_n_steps=1"]
    train(tiny(*given, *more))
    rates = read_log(tmp_path / "run/logs/metrics.csv")["train/lr"].values
    assert rates[-6] == pytest.approx(0.005)
    state = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["weight_decay"] == 0.5

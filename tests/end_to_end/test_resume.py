"""A run that is stopped and resumed is the run that was never stopped, to the last bit."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import Composer, Stopped, assert_same, last_checkpoint
from loco.errors import CheckpointError
from loco.runs.checkpoints import load_module
from loco.runs.logs import read_log
from loco.runs.train import train


@pytest.mark.parametrize(
    ("workers", "every"),
    [(0, 1), *(pytest.param(workers, 2, marks=pytest.mark.slow) for workers in (0, 2))],
)
def test_resumed_is_uninterrupted(tiny: Composer, tmp_path: Path, workers: int, every: int) -> None:
    """Stopped at the half, which is where the first validation was."""
    settings = [
        f"trainer.max_epochs={2 * every}",
        f"data.num_workers={workers}",
        "optimizer.lr=0.003",
        f"trainer.check_val_every_n_epoch={every}",
    ]
    whole = train(tiny(*settings, output="whole"))
    stop = f"+callbacks.stop={{_target_: helpers.StopAfter, epoch: {every}}}"
    with pytest.raises(Stopped):
        train(tiny(*settings, stop, output="stopped"))
    assert last_checkpoint(tmp_path / "stopped")["epoch"] == every - 1
    resumed = train(tiny(*settings, f"ckpt_path={tmp_path / 'stopped'}", output="resumed"))
    expected, got = (last_checkpoint(tmp_path / name) for name in ("whole", "resumed"))
    for part in (
        "state_dict",  # the averaged weights, and the loss normaliser
        "current_model_state",
        "averaging_state",
        "optimizer_states",
        "lr_schedulers",
        "epoch",
        "global_step",
    ):
        assert_same(expected[part], got[part], part)
    assert resumed == whole
    logs = [read_log(tmp_path / run / "logs" / "metrics.csv") for run in ("whole", "resumed")]
    assert logs[0].keys() == logs[1].keys()
    for name, curve in logs[0].items():  # the resumed run's log begins with the stopped one's
        np.testing.assert_array_equal(curve, logs[1][name], name)
    # the files too: the best checkpoint may be from before the stop
    for name in ("metrics.json", "predictions.json"):
        texts = [(tmp_path / run / name).read_text() for run in ("whole", "resumed")]
        assert texts[0] == texts[1]


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 2, 4])
def test_resumed_within_an_epoch_is_uninterrupted(
    tiny: Composer, tmp_path: Path, step: int
) -> None:
    """Three batches an epoch; the checkpoint was written after some of them."""
    settings = [
        "trainer.max_epochs=3", "optimizer.lr=0.003",
        "+callbacks.steps={_target_: lightning.pytorch.callbacks.ModelCheckpoint, "
        f"dirpath: {tmp_path}/steps, filename: '{{step}}', "
        "every_n_train_steps: 1, save_top_k: -1}",
    ]  # fmt: skip
    whole = train(tiny(*settings, output="whole"))
    middle = tmp_path / "steps" / f"step={step}.ckpt"
    assert torch.load(middle, weights_only=True)["global_step"] == step
    resumed = train(tiny("trainer.max_epochs=3", "optimizer.lr=0.003",
                         f"ckpt_path='{middle}'", output="resumed"))  # fmt: skip
    expected, got = (last_checkpoint(tmp_path / name) for name in ("whole", "resumed"))
    for part in ("state_dict", "current_model_state", "optimizer_states", "global_step"):
        assert_same(expected[part], got[part], part)
    assert resumed == whole
    logs = [read_log(tmp_path / run / "logs" / "metrics.csv") for run in ("whole", "resumed")]
    of_epochs = [name for name in logs[0] if name.startswith("epoch/")]
    assert "epoch/train/loss" in of_epochs
    for name in of_epochs:  # the epoch that was gone on with is a whole one in the log
        values = logs[1][name].values
        np.testing.assert_allclose(values, logs[0][name].values[-len(values) :], 1e-6)


def test_the_log_goes_on_from_the_best_checkpoint_too(tiny: Composer, tmp_path: Path) -> None:
    """It is written within an epoch, in its validation: the epoch's means are not logged twice."""
    settings = ["trainer.max_epochs=3", "optimizer.lr=0.003"]
    train(tiny(*settings, output="whole"))
    best = tmp_path / "whole" / "checkpoints" / "best.ckpt"
    assert torch.load(best, weights_only=True)["epoch_sums"]
    train(tiny(*settings, f"ckpt_path={best}", output="resumed"))
    logs = [read_log(tmp_path / run / "logs" / "metrics.csv") for run in ("whole", "resumed")]
    for name in ("epoch/train/loss", "val/mAP", "train/loss"):
        np.testing.assert_array_equal(logs[0][name].steps, logs[1][name].steps, name)
        np.testing.assert_allclose(logs[0][name].values, logs[1][name].values, 1e-6)


@pytest.mark.slow
def test_the_best_checkpoint_survives_a_resume(tiny: Composer, tmp_path: Path) -> None:
    """The first epoch stays the best: the resumed run learns nothing, and tests that one."""
    settings = ["trainer.max_epochs=3", "optimizer.lr=0.0", "callbacks.ema=null"]
    stop = "+callbacks.stop={_target_: helpers.StopAfter, epoch: 1}"
    with pytest.raises(Stopped):
        train(tiny(*settings, stop, output="stopped"))
    best = tmp_path / "stopped" / "checkpoints" / "best.ckpt"
    train(tiny(*settings, f"ckpt_path={tmp_path / 'stopped'}", output="resumed"))
    assert best.read_bytes() == (tmp_path / "resumed/checkpoints/best.ckpt").read_bytes()
    assert torch.load(best, weights_only=True)["epoch"] == 0
    assert (tmp_path / "stopped/checkpoints/last.ckpt").is_file()


def test_a_requeued_job_goes_on_with_what_is_its_own(
    finished_run: Path, tiny: Composer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Not with the run that it began from, which has done less; nor does that one have to be there.

    Its factors may change their values, and name what they named.
    """
    start = shutil.copytree(finished_run, tmp_path / "start")
    words = [f"ckpt_path={start}", f"init_from={tmp_path}/gone", "optimizer.lr=0"]
    train(tiny(*words, "trainer.max_epochs=3"))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    shutil.rmtree(start)
    caplog.set_level(logging.INFO, "loco")
    train(tiny(*words, "trainer.max_epochs=4"))
    assert f"resuming from {tmp_path}/run/checkpoints/last.ckpt" in caplog.text
    with pytest.raises(CheckpointError, match=r"lr_factors name other parameters .*out"):
        train(tiny(*words, "trainer.max_epochs=5", "+optimizer.lr_factors.out=0.1"))


def test_without_the_average_the_trained_weights_go_on(
    finished_run: Path, tiny: Composer, tmp_path: Path
) -> None:
    """Of which the optimiser's moments are."""
    words = [f"ckpt_path={finished_run}", "callbacks.ema=null", "optimizer.lr=0"]
    train(tiny(*words, "trainer.max_epochs=3"))
    before, after = last_checkpoint(finished_run), last_checkpoint(tmp_path / "run")
    assert after["epoch"] > before["epoch"]
    trained, averaged = before["current_model_state"], before["state_dict"]
    names = [name for name, _ in load_module(finished_run).named_parameters()]
    for name in names:
        assert torch.equal(after["state_dict"][name], trained[name]), name
    assert any(not torch.equal(averaged[name], trained[name]) for name in names)


@pytest.mark.slow
def test_a_resumed_run_is_of_the_same_model(
    finished_run: Path, tiny: Composer, caplog: pytest.LogCaptureFixture
) -> None:
    other = tiny("attention.window_size=4", "model.dim=32", f"ckpt_path={finished_run}")
    with pytest.raises(
        CheckpointError,
        match=r"last.ckpt: cannot go on with another model; .*window_size 8 → 4.*model.dim 16 → 32",
    ):
        train(other)
    others = ["trainer.max_epochs=3", "optimizer.lr=0.5", "model.decoding.nms=hard"]
    train(tiny(*others, f"ckpt_path={finished_run}"))  # the same weights: these are told
    assert (
        "other settings than before: model.decoding.nms soft → hard, optimizer.lr 0.002 → 0.5"
        in (caplog.text)
    )

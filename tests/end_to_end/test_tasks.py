"""UniAV(AT), all tasks at once, then UniAV(STF), one of them: two commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from helpers import QUIET, ROOT, TINY_DATA, Stopped, compose_config
from loco.errors import CheckpointError, LocoError, SettingError
from loco.runs import train_tasks
from loco.runs.checkpoints import load_module
from loco.runs.evaluate import evaluate
from loco.runs.logs import read_log
from loco.runs.train import train
from loco.training.tasks import MultiTaskModule

TASKS = ("avel", "tal", "sed")
SMALL = [
    "model.dim=16",
    "model.heads=2",
    "model.head_dim=16",
    "model.text_channels=8",
    "model.num_levels=2",
]


def at(root: Path, output: Path, *overrides: str) -> DictConfig:
    return compose_config(
        "train",
        ["experiment=uniav_at", f"data.root={root}", f"output_dir={output}",
         "trainer.max_epochs=2", *TINY_DATA, *SMALL, *QUIET, *overrides],
    )  # fmt: skip


def stf(root: Path, output: Path, start: Path, *overrides: str) -> DictConfig:
    return compose_config(
        "train",
        ["experiment=uniav_stf", f"init_from={start}", f"data.root={root}", f"output_dir={output}",
         "trainer.max_epochs=1", *TINY_DATA, *SMALL, *QUIET, *overrides],
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("at") / "run"
    train_tasks.train(at(synthetic_root, folder))
    return folder


def test_each_task_has_its_own_metric_checkpoint_and_predictions(
    trained: Path, tmp_path: Path
) -> None:
    whole = json.loads((trained / "metrics.json").read_text())
    log = read_log(trained / "logs" / "metrics.csv")
    for task in TASKS:
        folder = trained / task
        metrics = json.loads((folder / "metrics.json").read_text())
        assert whole["tasks"][task]["mAP"] == metrics["mAP"]
        assert len(json.loads((folder / "predictions.json").read_text())["database"]) == 5
        assert len(log[f"val/{task}/mAP"].values) == 2
        assert f"epoch/train/{task}/loss" in log
        module = load_module(folder)
        assert list(module.detector.tasks) == [task]
        checkpoint = torch.load(trained / "checkpoints" / task / "best.ckpt", weights_only=True)
        best = max(range(2), key=lambda i: log[f"val/{task}/mAP"].values[i])
        assert checkpoint["epoch"] == best
        for name, value in module.state_dict().items():
            assert torch.equal(value, checkpoint["state_dict"][name])
        assert (folder / "config.yaml").is_file()
    assert whole["mAP"] == pytest.approx(sum(whole["tasks"][t]["mAP"] for t in TASKS) / 3)
    again = evaluate(
        compose_config(
            "evaluate",
            [f"ckpt_path={trained / 'sed'}", f"output_dir={tmp_path}", "report=false",
             "trainer.accelerator=cpu"],
        )
    )  # fmt: skip
    assert again["mAP"] == whole["tasks"]["sed"]["mAP"]
    assert (tmp_path / "predictions.json").read_text() == (
        trained / "sed" / "predictions.json"
    ).read_text()


def test_turns_that_were_not_trained_do_not_count(synthetic_root: Path, tmp_path: Path) -> None:
    """Four of the epoch's batches: the next epoch goes on behind them."""
    config = at(synthetic_root, tmp_path, "trainer.max_epochs=1", "+trainer.limit_train_batches=4")
    train_tasks.train(config)
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    turns = state["MultiTaskDataModule"]
    assert [turns[task]["batches"] for task in TASKS] == [2, 1, 1]


def test_one_task_goes_on(trained: Path, synthetic_root: Path, tmp_path: Path) -> None:
    """From the weights that all tasks left: a rate of 0 leaves them where they are."""
    settings = ["optimizer.lr=0", "callbacks.ema=null"]
    metrics = train(stf(synthetic_root, tmp_path / "run", trained / "avel", *settings))
    assert 0 <= metrics["mAP"] <= 1
    before, after = load_module(trained / "avel"), load_module(tmp_path / "run")
    for name, value in before.state_dict().items():
        kept = torch.equal(value, after.state_dict()[name])
        assert kept != name.endswith("normalizer"), name  # the moving average goes on


def test_one_task_goes_on_with_names_of_its_own(
    trained: Path, synthetic_root: Path, tmp_path: Path
) -> None:
    """The table that is given counts, not that of the weights that it begins with."""
    table = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    np.save(tmp_path / "names.npy", table)
    words = [f"model.tasks.avel.text={tmp_path}/names.npy", "optimizer.lr=0"]
    train(stf(synthetic_root, tmp_path / "run", trained / "avel", *words))
    kept = load_module(tmp_path / "run").state_dict()["detector.text.avel"]
    assert torch.equal(kept, torch.from_numpy(table))
    words[0] = "model.tasks.avel.text=typo.npy"
    with pytest.raises(CheckpointError, match=r"avel.text: expected a text table, there is none"):
        train(stf(synthetic_root, tmp_path / "typo", trained / "avel", *words))
    words = ["model.tasks.avel.text=other.npy", f"ckpt_path={tmp_path / 'run'}", "init_from=null"]
    with pytest.raises(CheckpointError, match="goes on with the text table that it has"):
        train(stf(synthetic_root, tmp_path / "on", trained / "avel", *words))


def test_what_does_not_fit_is_told(trained: Path, synthetic_root: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"init_from=.*do not fit this model: \d+ of"):
        train(stf(synthetic_root, tmp_path / "a", trained / "tal"))
    with pytest.raises(CheckpointError, match=r"init_from=.*expected a checkpoint"):
        train(stf(synthetic_root, tmp_path / "b", tmp_path / "nothing"))
    with pytest.raises(CheckpointError, match=r"several tasks.*\(avel, tal, sed\)"):
        load_module(trained / "checkpoints" / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"init_from=.*one of them in it: avel, sed, tal"):
        train(stf(synthetic_root, tmp_path / "whole", trained))
    single = stf(synthetic_root, tmp_path / "c", trained / "avel")
    with pytest.raises(SettingError, match="several data sets"):
        train_tasks.train(single)
    with pytest.raises(SettingError, match=r"overfit_batches.*one task alone"):
        train_tasks.train(at(synthetic_root, tmp_path / "e", "debug=overfit"))
    with pytest.raises(LocoError, match="train_tasks"):
        train(at(synthetic_root, tmp_path / "d"))
    with pytest.raises(LocoError, match="several tasks are not tested as one"):
        MultiTaskModule.on_test_epoch_start(None)  # type: ignore[arg-type]


@pytest.mark.slow
def test_two_processes_train_all_tasks_as_one_with_the_same_global_batch(tmp_path: Path) -> None:
    settings = [*TINY_DATA, *SMALL, *QUIET, "trainer.max_epochs=2", "model.drop_path=0"]
    given = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    states, metrics = [], []
    for name, words in {
        "one": ["data.batch_size=4"],
        "two": ["data.batch_size=2", "trainer=ddp", "trainer.devices=2"],
    }.items():
        done = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "train.py"), "experiment=uniav_at",
             f"data.root={tmp_path / 'data'}", f"output_dir={tmp_path / name}",
             "trainer.accelerator=cpu", *settings, *words],
            env=os.environ | given, capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        last = tmp_path / name / "checkpoints" / "last.ckpt"
        states.append(torch.load(last, weights_only=True)["state_dict"])
        metrics.append(json.loads((tmp_path / name / "metrics.json").read_text()))
    one, two = states
    for name, expected in one.items():
        # what is added to all keys alike changes nothing: its gradient is rounding
        tolerance = 1e-4 if name.endswith("key.linear.bias") else 1e-5
        torch.testing.assert_close(two[name], expected, rtol=1e-4, atol=tolerance, msg=name)
    for task in TASKS:
        got, expected = (whole["tasks"][task]["mAP"] for whole in reversed(metrics))
        assert got == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_resumed_is_uninterrupted(synthetic_root: Path, tmp_path: Path) -> None:
    """Also where a task is stopped by then, and so has fewer turns."""
    silent = "{_target_: loco.detection.decoding.Decoding, score_threshold: 1.0}"  # mAP 0
    settings = ["trainer.max_epochs=3", f"+model.tasks.tal.decoding={silent}"]
    whole = train_tasks.train(at(synthetic_root, tmp_path / "whole", *settings))
    stop = "+callbacks.stop={_target_: helpers.StopAfter, epoch: 2}"
    with pytest.raises(Stopped):
        train_tasks.train(at(synthetic_root, tmp_path / "stopped", *settings, stop))
    resumed = train_tasks.train(
        at(synthetic_root, tmp_path / "resumed", *settings, f"ckpt_path={tmp_path / 'stopped'}")
    )
    assert resumed == whole
    expected, got = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)
        for name in ("whole", "resumed")
    )
    for part in ("state_dict", "current_model_state"):
        for name, value in expected[part].items():
            assert torch.equal(value, got[part][name]), name
    for part in ("MultiTaskDataModule", "global_step", "loops"):
        assert expected[part] == got[part], part
    batches = {task: of["batches"] for task, of in got["MultiTaskDataModule"].items()}
    assert batches == {"avel": 6 + 4, "tal": 6 + 1, "sed": 6 + 4}

"""A training in two processes: the same as one with the same global batch, and what ends both."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import lightning
import pytest
import torch

from helpers import QUIET, ROOT, TINY_DATA, TINY_MODEL

PATH = os.pathsep.join(str(ROOT / name) for name in ("src", "tests"))
TINY = [*TINY_DATA, *TINY_MODEL, *QUIET, "trainer.max_epochs=2", "trainer.log_every_n_steps=1"]
TWO = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]


class Dies(lightning.Callback):
    """Ends the second process in its second batch, while the first one waits for it."""

    def __init__(self, how: str) -> None:
        self.how = how

    def on_train_batch_start(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, batch: object, i: int
    ) -> None:
        if trainer.global_rank == 1 and i == 1:
            Path("died").touch()
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("the second process will not")


def train(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    given = {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": PATH}
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "train.py"), *TINY, f"output_dir={folder}", *words],
        cwd=folder.parent, env=os.environ | given, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_same_global_batch(tmp_path: Path) -> None:
    """Without drop path, which each process draws for itself; with LCC."""
    for name, words in {"one": ["data.batch_size=4"], "two": ["data.batch_size=2", *TWO]}.items():
        done = train(tmp_path / name, "model.drop_path=0", "trainer.accelerator=cpu", *words)
        assert done.returncode == 0, done.stderr
    files, states, logs = [], [], []
    for run in (tmp_path / "one", tmp_path / "two"):
        files.append({str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()})
        last = run / "checkpoints" / "last.ckpt"
        states.append(torch.load(last, weights_only=True)["current_model_state"])
        with (run / "logs" / "metrics.csv").open(newline="") as file:
            logs.append(list(csv.DictReader(file)))
    assert {name for name in files[1] if "processes.log" not in name} == files[0]

    one, two = states
    assert one.keys() == two.keys()
    assert one["detector.criterion.normalizer"] < 200  # it has come some way from its 250
    for name, expected in one.items():
        # what is added to all keys alike changes nothing: its gradient is rounding, and Adam's
        # steps are as long for that
        tolerance = 1e-4 if name.endswith(("key.linear.bias", "key.norm.bias")) else 1e-5
        torch.testing.assert_close(two[name], expected, rtol=1e-5, atol=tolerance, msg=name)

    assert len(logs[0]) == len(logs[1])
    for row, expected in zip(*reversed(logs), strict=True):
        assert row.keys() == expected.keys()
        for key, value in expected.items():
            assert bool(row[key]) == bool(value), key
            if value:
                assert float(row[key]) == pytest.approx(float(value), rel=1e-5, abs=1e-6), key
    metrics = [json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("one", "two")]
    assert metrics[1]["mAP"] == pytest.approx(metrics[0]["mAP"], abs=1e-6)


@pytest.mark.slow
def test_a_detector_of_ones_own_trains_in_two(tmp_path: Path) -> None:
    """Its model takes none of LoCo's groups, whose defaults are left out there as well."""
    own = tmp_path / "conf" / "model" / "mine.yaml"
    own.parent.mkdir(parents=True)
    target = "loco.detectors.actionformer.ActionFormer"
    own.write_text(f"_target_: {target}\ndim: 16\nheads: 2\nnum_levels: 3\n")
    (tmp_path / "conf" / "recipe").mkdir()
    (tmp_path / "conf" / "recipe" / "mine.yaml").write_text(
        "# @package _global_\noptimizer:\n  lr: 0.001\n  warmup_epochs: 1\n"
    )
    command = ["--config-dir", str(tmp_path / "conf"), "model=mine", *TINY_DATA, *QUIET, *TWO]
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "train.py"), *command, "trainer.max_epochs=1",
         "data.batch_size=2", f"output_dir={tmp_path / 'run'}"],
        cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": PATH},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "metrics.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("killed", "process 2 of 2 was killed by SIGKILL"),
        ("raises", "process 2 of 2 ended with code 1, see above"),
    ],
)
def test_a_process_that_dies_ends_the_other(tmp_path: Path, how: str, told: str) -> None:
    dies = [
        "+callbacks.dies._target_=end_to_end.test_two_processes.Dies",
        f"+callbacks.dies.how={how}",
    ]
    done = train(tmp_path / "run", "data.batch_size=2", *TWO, *dies)
    assert time.time() - (tmp_path / "died").stat().st_mtime < 60
    assert done.returncode == 1
    assert f"error: {told}" in done.stderr
    assert not (tmp_path / "run" / "metrics.json").exists()

"""Signals end a training between two batches, from where it goes on as if nothing had been."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
import torch

from helpers import QUIET, TINY_DATA, TINY_MODEL, run_loco
from loco.runs.checkpoints import load_checkpoint
from loco.training.interruption import Interruption

SETTINGS = [*TINY_DATA, *TINY_MODEL, *QUIET, "trainer.max_epochs=3", "optimizer.lr=0.003",
            "data.eval_batch_size=2"]  # fmt: skip


@pytest.fixture(scope="module")
def whole(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run that is never stopped: three epochs of three batches."""
    folder = tmp_path_factory.mktemp("whole")
    done = run_loco("train", f"data.root={synthetic_root}", *SETTINGS, "output_dir=run", cwd=folder)
    assert done.code == 0, done.out
    return folder / "run"


def assert_same_training(whole: Path, other: Path) -> None:
    """Weights, optimiser, average, normaliser and results are equal to the last bit."""
    expected, got = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        for folder in (whole, other)
    )
    for part in ("state_dict", "current_model_state", "averaging_state", "optimizer_states",
                 "lr_schedulers", "epoch", "global_step"):  # fmt: skip
        torch.testing.assert_close(got[part], expected[part], rtol=0, atol=0)
    for name in ("metrics.json", "predictions.json"):
        assert (other / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("where", "workers"),
    [
        ("{name: SIGTERM, epoch: 1, batch: 0}", 0),
        *(
            pytest.param(where, workers, marks=pytest.mark.slow)
            for workers in (0, 2)
            for where in (
                "{name: SIGINT, epoch: 1, batch: 1, validation: true}",
                "{name: SIGTERM, epoch: 0, batch: 1}",
                "{name: SIGTERM, epoch: 1, batch: 2}",  # the validation is due
                "{name: SIGTERM, epoch: 2, batch: 0, validation: true}",
                "{name: SIGINT, epoch: 1, batch: 1, group: true}",
                "{name: SIGTERM, epoch: 1, batch: 1, group: true}",
            )
        ),
    ],
)
def test_a_signal_ends_it_between_batches(
    whole: Path, synthetic_root: Path, tmp_path: Path, where: str, workers: int
) -> None:
    """The folder is moved, and nothing but its name is given to go on."""
    ended = run_loco(
        "train", f"data.root={synthetic_root}", *SETTINGS, "output_dir=stopped",
        f"data.num_workers={workers}",
        "+callbacks.stop={_target_: helpers.SignalAt, " + where.removeprefix("{"),
        cwd=tmp_path,
    )  # fmt: skip
    assert ended.code == (143 if "SIGTERM" in where else 130), ended.out
    assert "Traceback" not in ended.out
    assert "go on with: loco train ckpt_path=stopped" in ended.out
    shutil.move(tmp_path / "stopped", tmp_path / "moved here")
    done = run_loco("train", "ckpt_path='moved here'", "output_dir=resumed", cwd=tmp_path)
    assert done.code == 0, done.out
    assert_same_training(whole, tmp_path / "resumed")


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_kill_9_leaves_whole_checkpoints(
    whole: Path, synthetic_root: Path, tmp_path: Path, kills: int
) -> None:
    """Killed again and again at random moments, each time going on in the same folder.

    Checkpoints are written after each of the short epochs, so that many a kill meets one. What
    comes out is the training that was never stopped.
    """
    random = Random(kills)
    words = [f"data.root={synthetic_root}", *SETTINGS, "output_dir=run"]
    run = tmp_path / "run"
    last, started = run / "checkpoints" / "last.ckpt", run / "config.yaml"
    met = 0
    while met < kills:
        started.unlink(missing_ok=True)
        going = ["ckpt_path=run"] if last.is_file() else []
        ended = run_loco("train", *words, *going, cwd=tmp_path, kill=(started, random.random()))
        assert ended.code in (-signal.SIGKILL, 0), ended.out
        for file in run.rglob("*.ckpt"):
            load_checkpoint(file)
        met += ended.code != 0
        if met < kills and (ended.code == 0 or random.random() < 0.3):
            shutil.rmtree(run)  # from the start again
    done = run_loco("train", *words, *(["ckpt_path=run"] * last.is_file()), cwd=tmp_path)
    assert done.code == 0, done.out
    assert_same_training(whole, run)


@pytest.mark.slow
def test_slurm_queues_a_job_again_and_it_goes_on(
    whole: Path, synthetic_root: Path, tmp_path: Path
) -> None:
    """SIGUSR1 says that the time is over; `scontrol` is one that notes what it is asked for."""
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked.txt\n', encoding="utf-8")
    scontrol.chmod(0o755)
    job = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "x", "SLURM_PROCID": "0",
           "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
           "PATH": f"{scontrol.parent}{os.pathsep}{os.environ['PATH']}"}  # fmt: skip
    words = ["train", f"data.root={synthetic_root}", *SETTINGS, "hydra.run.dir=run"]
    stop = "+callbacks.stop={_target_: helpers.SignalAt, name: SIGUSR1, epoch: 1, batch: 0}"
    ended = run_loco(*words, stop, cwd=tmp_path, **job)
    assert ended.code == 128 + signal.SIGUSR1, ended.out
    assert (tmp_path / "asked.txt").read_text(encoding="utf-8") == "requeue 7\n"
    assert not list(tmp_path.rglob("hpc_ckpt*"))
    done = run_loco(*words, cwd=tmp_path, **job, SLURM_RESTART_COUNT="1")
    assert done.code == 0, done.out
    assert "resuming from" in done.out
    assert_same_training(whole, tmp_path / "run")


@pytest.mark.slow
def test_submitit_queues_a_job_again_and_it_goes_on(
    whole: Path, synthetic_root: Path, tmp_path: Path
) -> None:
    """By its local executor, which has the same handler as the one of SLURM.

    SLURM itself counts the starts; here the count is there from the first one, which finds no
    checkpoint to go on from.
    """
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    stop = "+callbacks.stop={_target_: helpers.SignalAt, name: SIGUSR2, epoch: 1, batch: 0}"
    done = run_loco(
        "train", "-m", "hydra/launcher=submitit_local", f"data.root={synthetic_root}", *SETTINGS,
        stop, "hydra.sweep.dir=sweep", "hydra.sweep.subdir=job", cwd=tmp_path,
        PYTHONPATH=os.pathsep.join([*filter(None, sys.path)]), SLURM_RESTART_COUNT="1",
    )  # fmt: skip
    assert done.code == 0, done.out
    (log,) = (tmp_path / "sweep").rglob("*_log.err")
    told = log.read_text(encoding="utf-8")
    assert told.index("SIGUSR2: ends after this batch, and saves") < told.index("Caught signal")
    (last,) = (tmp_path / "sweep").rglob("last.ckpt")
    assert_same_training(whole, last.parents[1])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT to all"])
def test_jobs_beside_each_other_save_and_end(
    how: str, synthetic_root: Path, tmp_path: Path
) -> None:
    """joblib's processes would be killed with the command, or outlive it."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    command = [sys.executable, "-m", "loco.cli", "train", "-m", f"data.root={synthetic_root}",
               *SETTINGS, "hydra/launcher=local", "hydra.sweep.dir=sweep", "seed=0,1,2",
               "trainer.max_epochs=400"]  # fmt: skip
    with (tmp_path / "out.txt").open("w") as out:
        run = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, cwd=tmp_path, start_new_session=True
        )
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and run.poll() is None:
        begun = sorted((tmp_path / "sweep").glob("*/checkpoints/last.ckpt"))
        if len(begun) == 2:
            break
        time.sleep(0.1)
    if how == "SIGTERM":
        run.send_signal(signal.SIGTERM)
    else:  # as a terminal does
        os.killpg(run.pid, signal.SIGINT)
    code = run.wait(timeout=100)
    told = (tmp_path / "out.txt").read_text()
    assert code == (143 if how == "SIGTERM" else 130), told
    assert "waiting for the jobs, which save and end" in told
    assert "Traceback" not in told
    assert "the same command with resume_sweep=sweep tries these again" in told
    folders = sorted((tmp_path / "sweep").glob("*/.hydra"))
    assert sorted((tmp_path / "sweep").glob("*/checkpoints/last.ckpt")) == begun
    for file in begun:
        noted = json.loads((file.parent.parent / "provenance.json").read_text())["starts"]
        assert noted[-1]["ended"].startswith("interrupted: SIG")
        load_checkpoint(file)
    assert len(folders) == 3


def test_a_second_ctrl_c_does_not_wait() -> None:
    interruption = Interruption()
    interruption._note(signal.SIGINT, None)
    interruption._note(signal.SIGTERM, None)
    with pytest.raises(KeyboardInterrupt):
        interruption._note(signal.SIGINT, None)

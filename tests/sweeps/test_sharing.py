"""Jobs that run at the same time on one machine get a GPU each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from loco.sweeps import sharing
from loco.sweeps.sharing import VISIBLE, share_machine

JOBLIB = {"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Starts a job in one worker or another, says which GPU it sees; there are two of them."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    workers: dict[str, tuple[list[Any], str | None]] = {}

    def start(worker: str, launcher: dict[str, str] = JOBLIB, **trainer: Any) -> str | None:
        held, visible = workers.get(worker, ([], None))
        monkeypatch.setattr(sharing, "_held", held)
        monkeypatch.delenv(VISIBLE, raising=False)
        if visible is not None:
            monkeypatch.setenv(VISIBLE, visible)
        share_machine(launcher | {"n_jobs": 3}, {"devices": 1} | trainer, tmp_path)  # type: ignore[arg-type]
        workers[worker] = held, os.environ.get(VISIBLE)
        return workers[worker][1]

    return start


def test_each_worker_takes_a_gpu_and_keeps_it(started: Any) -> None:
    assert [started(worker) for worker in ("a", "b")] == ["0", "1"]
    assert [started(worker) for worker in ("b", "a", "b")] == ["1", "0", "1"]  # their next jobs
    assert started("c") == "0"  # more workers than GPUs


@pytest.mark.parametrize(
    "trainer", [{"accelerator": "cpu"}, {"devices": 2}, {"devices": "auto"}, {"accelerator": "mps"}]
)
def test_who_wants_none_or_several_is_left_alone(started: Any, trainer: dict[str, Any]) -> None:
    assert started("a", **trainer) is None


def test_one_after_the_other_is_left_alone(started: Any) -> None:
    assert started("a", {"_target_": "hydra._internal.core_plugins.basic.BasicLauncher"}) is None


def test_only_what_the_user_allows_is_shared(
    started: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sharing, "_held", [])
    monkeypatch.setenv(VISIBLE, "5,GPU-1f")
    assert sharing.visible_gpus() == ["5", "GPU-1f"]
    sharing.take_gpu(tmp_path, sharing.visible_gpus())
    assert os.environ[VISIBLE] == "5"

"""Checkpoints are replaced whole or not at all."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from loco.errors import CheckpointError
from loco.training.checkpoint_io import AtomicCheckpointIO


def test_it_writes_what_torch_reads_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new" / "last.ckpt"
    for value in (1, 2):
        AtomicCheckpointIO().save_checkpoint({"x": torch.tensor(value)}, target)
        assert torch.load(target, weights_only=True)["x"] == value
    assert [path.name for path in target.parent.iterdir()] == ["last.ckpt"]


LIMITED = """
import resource, signal, sys, torch
from loco.errors import CheckpointError
from loco.training.checkpoint_io import AtomicCheckpointIO
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    AtomicCheckpointIO().save_checkpoint({"x": torch.zeros(10**6)}, sys.argv[1])
except CheckpointError as error:
    print(error)
"""


def test_a_full_disk_is_a_clear_error_and_the_old_one_stays(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk."""
    assert resource.RLIMIT_FSIZE
    assert signal.SIGXFSZ
    target = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": 1}, target)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(target)], capture_output=True, text=True, check=True
    )
    assert "last.ckpt: cannot be written: " in done.stdout
    assert "the checkpoint before it is still there" in done.stdout
    assert torch.load(target, weights_only=True) == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").mkdir()
    with pytest.raises(CheckpointError, match="cannot be written: Is a directory"):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "last.ckpt")

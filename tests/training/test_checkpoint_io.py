"""Checkpoints are replaced whole or not at all."""

from __future__ import annotations

import resource
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


def test_a_full_disk_is_a_clear_error_and_the_old_one_stays(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk."""
    target = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": 1}, target)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(CheckpointError) as caught:
            AtomicCheckpointIO().save_checkpoint({"x": torch.zeros(10**6)}, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "last.ckpt: cannot be written: File too large" in str(caught.value)
    assert "the checkpoint before it is still there" in str(caught.value)
    assert torch.load(target, weights_only=True) == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").mkdir()
    with pytest.raises(CheckpointError, match="cannot be written: Is a directory"):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "last.ckpt")
